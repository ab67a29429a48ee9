//! What cannot be undercut: programs that return at once, one that only asks which task a write is of, one that does nothing but copy,
//! and one that accounts for what it copies.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::trace_point::TracePointLink;
use aya::programs::{BtfTracePoint, TracePoint};
use aya::{Btf, Ebpf};
use capture_common::RecordHeader;

use super::figures::Setting;
use crate::bench::load::plain;
use crate::workspace;

/// How often the ring buffer is emptied.
const PERIOD: Duration = Duration::from_millis(1);
/// Bytes that the reader takes out of it before they are thrown away: out they have to be, because others' records follow.
const TAKEN: usize = 256 << 10;
/// Bytes that may be on the way to the thread that it hands over to.
const QUEUE: usize = 32 << 20;
/// Bytes of a line, and those of its record in JSON that are the same for all of them, with no label but those that the engine sets.
const LINE: usize = 100;
static SAME: [u8; 267] = [b'y'; 267];

/// The programs of a setting, loaded; attached while it is asked for, and at most while this lives.
pub(in crate::bench) struct Limit {
    programs: Ebpf,
    setting: Setting,
    attached: Vec<Attached>,
    lost: PerCpuArray<MapData, u64>,
    ended: Arc<AtomicBool>,
    /// CPU time that the reader has taken, in nanoseconds.
    cpu: Arc<AtomicU64>,
    /// The same of the thread that it hands over to, if it does.
    cpu_of_other: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

/// Detached when dropped.
#[expect(dead_code, reason = "held for what their drop does")]
enum Attached {
    Btf(BtfTracePointLink),
    Classic(TracePointLink),
}

impl Limit {
    /// Loads the program that copies what is written to fd 1, and one that returns at once on the other hook of attach mode `raw`.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn copy() -> Result<Self> {
        Self::load(Setting::CopyRaw, taken())
    }

    /// The same, and both sides ask whose a write is, when it was and where among its cgroup's bytes it stands, and count it; its reader counts
    /// the lines and hands a quarter of a megabyte at a time over to a thread that writes it to `/dev/null`: what an agent does whose sinks
    /// must not hold its reader up, but for the file that a descriptor stands for.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn account_and_hand_over() -> Result<Self> {
        Self::hand_over_to(Setting::AccountRaw, null()?)
    }

    /// The same on the hooks of attach mode `syscalls`.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn account_of_calls_and_hand_over() -> Result<Self> {
        Self::hand_over_to(Setting::AccountSyscalls, null()?)
    }

    /// As [`account_and_hand_over`](Self::account_and_hand_over), and that thread makes a record of JSON of each line of 100 bytes and writes those: what an agent does whose sinks encode.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn account_and_hand_over_to_encode() -> Result<Self> {
        let mut null = null()?;
        let mut encoded = Vec::with_capacity(TAKEN);
        Self::hand_over_to(Setting::AccountRaw, move |batch| encode(batch, &mut encoded, &mut null))
    }

    fn hand_over_to(setting: Setting, write: impl FnMut(&[u8]) + Send + 'static) -> Result<Self> {
        let cpu = Arc::new(AtomicU64::new(0));
        let mut hand_over = handed_over(Arc::clone(&cpu), write);
        let mut accounts = Accounts::default();
        let mut limit = Self::load(setting, move |record| {
            accounts.count(record);
            hand_over(record);
        })?;
        limit.cpu_of_other = cpu;
        Ok(limit)
    }

    /// As [`account_and_hand_over`](Self::account_and_hand_over), and its one reader makes a record of JSON of each line of 100 bytes where it lies: it looks for what would have to be escaped,
    /// and copies the line to where it has put what is the same for all.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn account_and_encode() -> Result<Self> {
        let mut encoded = Vec::with_capacity(TAKEN);
        let mut accounts = Accounts::default();
        Self::load(Setting::AccountRaw, move |record| {
            accounts.count(record);
            encode(record, &mut encoded, |encoded| {
                black_box(encoded);
            });
        })
    }

    /// Loads programs that return at once, for the hooks of attach mode `raw`.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn hooks() -> Result<Self> {
        Self::load(Setting::EmptyRaw, taken())
    }

    /// The same for those of attach mode `syscalls`.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(in crate::bench) fn hooks_of_calls() -> Result<Self> {
        Self::load(Setting::EmptySyscalls, taken())
    }

    /// Loads and attaches what the setting stands for; nothing where it is none of these.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub(super) fn of(setting: Setting) -> Result<Option<Self>> {
        if matches!(setting, Setting::Nothing | Setting::Raw | Setting::Syscalls) {
            return Ok(None);
        }
        let mut limit = Self::load(setting, taken())?;
        limit.attach()?;
        Ok(Some(limit))
    }

    fn load(setting: Setting, mut read: impl FnMut(&[u8]) + Send + 'static) -> Result<Self> {
        let object = workspace::target_dir().join("bpf/limits");
        let mut ebpf = Ebpf::load_file(&object).context("bpf/limits (`cargo xtask bench` builds it)")?;
        let btf = Btf::from_sys_fs()?;
        for (name, hook) in hooks(setting) {
            btf_program(&mut ebpf, name)?.load(hook, &btf)?;
        }
        for (name, _) in calls(setting) {
            classic_program(&mut ebpf, name)?.load()?;
        }
        let mut records = RingBuf::try_from(ebpf.take_map("LIMIT_RECORDS").context("LIMIT_RECORDS")?)?;
        let lost = PerCpuArray::try_from(ebpf.take_map("LIMIT_LOST").context("LIMIT_LOST")?)?;
        let (ended, cpu) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = thread::spawn({
            let (ended, cpu) = (Arc::clone(&ended), Arc::clone(&cpu));
            move || {
                while !ended.load(Relaxed) {
                    while let Some(record) = records.next() {
                        read(&record);
                    }
                    cpu.store(plain::cpu_nanos(), Relaxed);
                    thread::sleep(PERIOD);
                }
            }
        });
        Ok(Self {
            programs: ebpf,
            setting,
            attached: Vec::new(),
            lost,
            ended,
            cpu,
            cpu_of_other: Arc::default(),
            reader: Some(reader),
        })
    }

    /// CPU seconds that its reader has taken, and whom that hands over to.
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    pub(in crate::bench) fn cpu(&self) -> f64 {
        (self.cpu.load(Relaxed) + self.cpu_of_other.load(Relaxed)) as f64 / 1e9
    }

    /// Bytes that the ring buffer had no room for.
    ///
    /// # Errors
    /// When the kernel does not tell, or its reader has given up, so that nothing it has measured counts.
    pub(in crate::bench) fn lost(&self) -> Result<u64> {
        ensure!(
            self.reader.as_ref().is_some_and(|reader| !reader.is_finished()),
            "the reader of the bare copy gave up"
        );
        Ok(self.lost.get(&0, 0)?.iter().sum())
    }

    /// Has its programs run from now on.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(in crate::bench) fn attach(&mut self) -> Result<()> {
        for (name, _) in hooks(self.setting) {
            let program = btf_program(&mut self.programs, name)?;
            let link = program.attach()?;
            self.attached.push(Attached::Btf(program.take_link(link)?));
        }
        for (name, calls) in calls(self.setting) {
            let program = classic_program(&mut self.programs, name)?;
            for call in *calls {
                let link = program.attach("syscalls", call)?;
                self.attached.push(Attached::Classic(program.take_link(link)?));
            }
        }
        Ok(())
    }

    /// Has them run no longer.
    pub(in crate::bench) fn detach(&mut self) {
        self.attached.clear();
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

/// Writes to `/dev/null`.
fn null() -> Result<impl FnMut(&[u8]) + Send + 'static> {
    let mut null = File::create("/dev/null").context("/dev/null")?;
    // It ends the reader, which `Limit::lost` tells.
    Ok(move |bytes: &[u8]| null.write_all(bytes).expect("/dev/null can be written"))
}

/// How far each cgroup has got, by the index that the programs give it.
#[derive(Default)]
struct Accounts(Vec<u64>);

impl Accounts {
    /// Notes a record, which begins with its head.
    fn count(&mut self, record: &[u8]) {
        let slot = u32::from_ne_bytes(bytes_at(record, offset_of!(RecordHeader, slot))) as usize;
        let position = u64::from_ne_bytes(bytes_at(record, offset_of!(RecordHeader, position)));
        let length = u32::from_ne_bytes(bytes_at(record, offset_of!(RecordHeader, length)));
        if self.0.len() <= slot {
            self.0.resize(slot + 1, 0);
        }
        // What is missing before it was lost, or is on its way from another CPU.
        black_box(position - self.0[slot].min(position));
        self.0[slot] = position + u64::from(length);
    }
}

fn bytes_at<const LENGTH: usize>(record: &[u8], offset: usize) -> [u8; LENGTH] {
    // It ends the reader, which `Limit::lost` tells.
    record[offset..].first_chunk().copied().expect("a record begins with its head")
}

/// Takes records out of the ring buffer.
fn taken() -> impl FnMut(&[u8]) + Send + 'static {
    let mut taken = Vec::with_capacity(TAKEN);
    move |record| {
        if taken.len() + record.len() > TAKEN {
            taken.clear();
        }
        taken.extend_from_slice(record);
        black_box(&mut taken);
    }
}

/// Takes records out of the ring buffer, and has another thread write them by `write`. It ends with the reader.
fn handed_over(
    cpu: Arc<AtomicU64>,
    mut write: impl FnMut(&[u8]) + Send + 'static,
) -> impl FnMut(&[u8]) + Send + 'static {
    // As much on the way as the agent's queue has room for.
    let (full, taken) = mpsc::sync_channel::<Vec<u8>>(QUEUE / TAKEN);
    let (written, free) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for mut batch in taken {
            write(&batch);
            batch.clear();
            let _ = written.send(batch);
            cpu.store(plain::cpu_nanos(), Relaxed);
        }
    });
    let mut batch = Vec::with_capacity(TAKEN);
    move |record: &[u8]| {
        if batch.len() + record.len() > TAKEN {
            let next = free.try_recv().unwrap_or_else(|_| Vec::with_capacity(TAKEN));
            full.send(std::mem::replace(&mut batch, next)).expect("the other thread writes");
        }
        black_box(memchr::memchr_iter(b'\n', record).count());
        batch.extend_from_slice(record);
    }
}

/// Makes records of JSON of the lines in it, and has `write` have them, a quarter of a megabyte at a time.
fn encode(lines: &[u8], encoded: &mut Vec<u8>, mut write: impl FnMut(&[u8])) {
    for line in lines.chunks_exact(LINE) {
        if encoded.len() + LINE + SAME.len() > TAKEN {
            write(encoded);
            encoded.clear();
        }
        black_box(plain::is_plain(line));
        encoded.extend_from_slice(black_box(&SAME));
        encoded.extend_from_slice(line);
    }
}

/// The program and the hook of each BTF tracepoint that a setting stands for.
const fn hooks(setting: Setting) -> &'static [(&'static str, &'static str)] {
    match setting {
        Setting::EmptyRaw => &[("empty_exit", "sys_exit"), ("empty_enter", "sys_enter")],
        Setting::EmptyExit => &[("empty_exit", "sys_exit")],
        Setting::WhoseRaw => &[("whose_exit", "sys_exit"), ("empty_enter", "sys_enter")],
        Setting::CopyOnly => &[("copy_exit", "sys_exit")],
        Setting::CopyRaw => &[("copy_exit", "sys_exit"), ("empty_enter", "sys_enter")],
        Setting::AccountRaw => &[("account_exit", "sys_exit"), ("empty_enter", "sys_enter")],
        Setting::EmptySyscalls | Setting::AccountSyscalls | Setting::Nothing | Setting::Raw | Setting::Syscalls => &[],
    }
}

/// The programs, and each one's calls, of a setting that stands for attach mode `syscalls`.
const fn calls(setting: Setting) -> &'static [(&'static str, &'static [&'static str])] {
    match setting {
        Setting::EmptySyscalls => &[("empty_tracepoint", &["sys_exit_write", "sys_exit_writev", "sys_exit_pwritev2"])],
        Setting::AccountSyscalls => &[
            ("account_tracepoint", &["sys_exit_write"]),
            ("empty_tracepoint", &["sys_exit_writev", "sys_exit_pwritev2"]),
        ],
        _ => &[],
    }
}

fn btf_program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint> {
    Ok(ebpf.program_mut(name).context(name)?.try_into()?)
}

fn classic_program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut TracePoint> {
    Ok(ebpf.program_mut(name).context(name)?.try_into()?)
}
