//! Records wait for the name of their container: for a while, and within bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::ledger::Ledger;
use super::reader::{Reader, ReaderConfig};
use super::totals::SessionError;
use crate::containers::directory::{Directory, Lookup};
use crate::pipeline::record::{Origin, Record};

/// How long records wait for the name of their container.
const DEADLINE: Duration = Duration::from_secs(2);
/// How much memory the records of all containers that wait for a name may take together, in bytes. It is given to the sinks
/// at once, so it is a quarter of what a queue has room for; and what a container of 400 MB/s writes while the engine
/// answers in 20 ms.
const HELD: u64 = 8 << 20;

/// Records that wait for a name.
#[derive(Debug)]
pub(super) struct Held {
    since: Instant,
    /// Of memory that they take.
    bytes: u64,
    records: Vec<Record>,
}

impl Held {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, records: Vec::new() }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.stream_bytes() + size_of::<Record>() as u64;
        self.records.push(record);
    }
}

impl Session {
    pub(super) fn is_waiting_for_name(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the name that the engine has told before, so that nothing has to wait; asks for it where it has not.
    pub(super) fn begin_with_name(&mut self, directory: &Directory, ledger: &Ledger) {
        if self.join_metadata(directory, ledger) {
            self.held = None;
        }
    }

    /// Joins what the engine said since; gives out what was held for it, at the latest after the deadline.
    pub(super) fn attach_metadata(
        &mut self,
        directory: &Directory,
        ledger: &Ledger,
        now: Instant,
        give_up: bool,
        out: &mut Vec<Record>,
    ) {
        let is_answered = self.join_metadata(directory, ledger);
        let done = |held: &mut Held| give_up || is_answered || now.saturating_duration_since(held.since) >= DEADLINE;
        if let Some(held) = self.held.take_if(done) {
            if !is_answered {
                ledger.failed(self.id(), SessionError::Metadata);
            }
            out.extend(held.records.into_iter().map(|record| Record { origin: Arc::clone(&self.origin), ..record }));
        }
    }

    /// Whether the engine has said what there is to say.
    fn join_metadata(&mut self, directory: &Directory, ledger: &Ledger) -> bool {
        let answer = directory.lookup(self.id());
        if let Lookup::Known(metadata) = &answer
            && self.origin.metadata.as_ref() != Some(metadata)
        {
            ledger.rename(self.id(), &metadata.name);
            self.origin = Arc::new(Origin::new(
                Arc::clone(self.id()),
                Some(Arc::clone(metadata)),
                Arc::clone(&self.origin.account),
            ));
        }
        !matches!(answer, Lookup::Pending)
    }

    fn held_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }
}

impl Reader {
    /// Joins what the engine has said since the last call, so that what comes now has it.
    pub(super) fn follow_names(&mut self, now: Instant) {
        if self.have_names_changed() {
            let ReaderConfig { directory, ledger, .. } = &self.config;
            for session in self.sessions.iter_mut().flatten().chain(&mut self.closing) {
                session.attach_metadata(directory, ledger, now, false, &mut self.batch);
            }
        }
    }

    /// Gives out what need not wait for a name any more, or may not. To be called after each batch while any session waits.
    pub(super) fn release_held(&mut self, now: Instant) {
        self.follow_names(now);
        let ReaderConfig { directory, ledger, .. } = &self.config;
        let sessions = self.sessions.iter_mut().flatten().chain(&mut self.closing);
        self.pace.awaits_names = bound_held(sessions, directory, ledger, now, &mut self.batch);
        close_complete(&mut self.closing, &mut self.ended);
    }
}

/// Of the sessions that ended, those that hold nothing any more are over: their last record is in the batch.
pub(super) fn close_complete(closing: &mut Vec<Session>, ended: &mut Vec<Arc<str>>) {
    let complete = closing.extract_if(.., |session| !session.is_waiting_for_name());
    ended.extend(complete.map(|session| Arc::clone(session.id())));
}

/// Where more than [`HELD`] waits for names, those that hold most go without; whether any still waits.
fn bound_held<'a>(
    sessions: impl Iterator<Item = &'a mut Session>,
    directory: &Directory,
    ledger: &Ledger,
    now: Instant,
    out: &mut Vec<Record>,
) -> bool {
    let mut waiting: Vec<_> = sessions.filter(|session| session.is_waiting_for_name()).collect();
    let mut held: u64 = waiting.iter().map(|session| session.held_bytes()).sum();
    if held > HELD {
        waiting.sort_unstable_by_key(|session| session.held_bytes());
    }
    while held > HELD
        && let Some(most) = waiting.pop()
    {
        held -= most.held_bytes();
        most.attach_metadata(directory, ledger, now, true, out);
    }
    !waiting.is_empty()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use capture_common::{ContainerSlot, Stream};

    use super::super::order::Chunk;
    use super::super::rotation::Rotation;
    use super::*;
    use crate::containers::directory::Metadata;
    use crate::kernel::WallClock;

    struct Scene {
        directory: Arc<Directory>,
        ledger: Ledger,
        begin: Instant,
        out: Vec<Record>,
    }

    impl Scene {
        fn new() -> Self {
            // Nobody answers who is asked.
            let (directory, _) = Directory::new();
            let ledger = Ledger::new(Duration::ZERO);
            Self { directory, ledger, begin: Instant::now(), out: Vec::new() }
        }

        fn tell(&self, id: &str) {
            self.directory.insert(Metadata { id: id.to_owned(), name: format!("name of {id}"), ..Metadata::default() });
        }

        fn session(&self, id: &str) -> Session {
            let id = Arc::from(id);
            let account = self.ledger.open(&id, 0);
            let rotation = Rotation::new(Duration::from_mins(1), self.begin);
            let mut session = Session::open(&ContainerSlot::default(), id, account, 1 << 20, rotation, self.begin);
            session.begin_with_name(&self.directory, &self.ledger);
            session
        }

        /// So many mebibytes of lines.
        fn write(&mut self, session: &mut Session, mebibytes: usize) {
            for _ in 0..mebibytes {
                let data = Bytes::from(b"0123456789abcde\n".repeat(1 << 16)).into();
                let chunk = Chunk { timestamp: 1, data, writer: None };
                let position = session.streams[Stream::Stdout as usize].order.position();
                session.push(Stream::Stdout, false, position, chunk, WallClock::now(), self.begin, &mut self.out);
            }
        }

        /// Whether any still waits.
        fn bound<const N: usize>(&mut self, sessions: [&mut Session; N]) -> bool {
            bound_held(sessions.into_iter(), &self.directory, &self.ledger, self.begin, &mut self.out)
        }

        /// What came out since the last call: bytes, and the name that they all have.
        fn take(&mut self) -> (u64, Option<String>) {
            let records = std::mem::take(&mut self.out);
            let name = |record: &Record| record.origin.metadata.as_ref().map(|metadata| metadata.name.clone());
            let first = records.first().and_then(name);
            assert!(records.iter().all(|record| name(record) == first), "with and without");
            (records.iter().map(Record::stream_bytes).sum(), first)
        }

        /// Containers that the engine did not name in time.
        fn failed(&self) -> u64 {
            self.ledger.snapshot().1.iter().map(|totals| totals.errors[SessionError::Metadata as usize]).sum()
        }
    }

    const MEBIBYTE: u64 = 1 << 20;

    #[test]
    fn nothing_waits_for_a_name_that_was_told_before() {
        let mut scene = Scene::new();
        scene.tell("web");
        let mut session = scene.session("web");
        assert!(!session.is_waiting_for_name());
        scene.write(&mut session, 20);
        assert_eq!(scene.take(), (20 * MEBIBYTE, Some("name of web".to_owned())));
        // A new one is in what comes after it.
        scene.directory.insert(Metadata { id: "web".to_owned(), name: "new".to_owned(), ..Metadata::default() });
        session.attach_metadata(&scene.directory, &scene.ledger, scene.begin, false, &mut scene.out);
        scene.write(&mut session, 1);
        assert_eq!(scene.take(), (MEBIBYTE, Some("new".to_owned())));
    }

    #[test]
    fn what_waits_comes_with_the_answer() {
        let mut scene = Scene::new();
        let mut session = scene.session("web");
        scene.write(&mut session, 7);
        assert!(scene.bound([&mut session]));
        assert_eq!(scene.take(), (0, None));
        scene.tell("web");
        session.attach_metadata(&scene.directory, &scene.ledger, scene.begin, false, &mut scene.out);
        scene.write(&mut session, 1);
        assert_eq!(scene.take(), (8 * MEBIBYTE, Some("name of web".to_owned())));
        assert_eq!(scene.failed(), 0);
    }

    #[test]
    fn what_waits_is_bounded_for_all_together_and_those_that_hold_most_give_way() {
        let mut scene = Scene::new();
        let (mut little, mut much, mut more) = (scene.session("little"), scene.session("much"), scene.session("more"));
        scene.write(&mut little, 1);
        scene.write(&mut much, 3);
        scene.write(&mut more, 3);
        assert!(scene.bound([&mut little, &mut much, &mut more]));
        assert_eq!(scene.take(), (0, None), "there is room for all of them");
        scene.write(&mut more, 1);
        assert!(scene.bound([&mut little, &mut much, &mut more]));
        assert_eq!(scene.take(), (4 * MEBIBYTE, None));
        assert!(little.is_waiting_for_name() && much.is_waiting_for_name() && !more.is_waiting_for_name());
        assert_eq!(scene.failed(), 1);
        // It waits for nothing any more, and gets its name all the same when there is one.
        scene.tell("more");
        more.attach_metadata(&scene.directory, &scene.ledger, scene.begin, false, &mut scene.out);
        scene.write(&mut more, 20);
        assert_eq!(scene.take(), (20 * MEBIBYTE, Some("name of more".to_owned())));
        scene.write(&mut little, 8);
        scene.write(&mut much, 8);
        assert!(!scene.bound([&mut little, &mut much]), "each of them is more than may wait");
        assert_eq!(scene.take(), (20 * MEBIBYTE, None));
    }

    #[test]
    fn small_records_count_with_what_they_take_of_memory() {
        let mut scene = Scene::new();
        let mut session = scene.session("web");
        let records = HELD / size_of::<Record>() as u64;
        for position in 0..records {
            let chunk = Chunk { timestamp: 1, data: Bytes::from_static(b"\n").into(), writer: None };
            session.push(Stream::Stdout, false, position, chunk, WallClock::now(), scene.begin, &mut scene.out);
        }
        assert!(!scene.bound([&mut session]));
        assert_eq!(scene.take(), (records, None));
    }

    #[test]
    fn a_session_that_ended_is_over_when_its_last_record_has_come_out() {
        let mut scene = Scene::new();
        scene.tell("named");
        let mut waiting = scene.session("waiting");
        scene.write(&mut waiting, 1);
        let (mut closing, mut ended) = (vec![waiting, scene.session("named")], Vec::new());
        close_complete(&mut closing, &mut ended);
        assert_eq!(ended, [Arc::from("named")]);
        scene.tell("waiting");
        closing[0].attach_metadata(&scene.directory, &scene.ledger, scene.begin, false, &mut scene.out);
        close_complete(&mut closing, &mut ended);
        assert_eq!(scene.take(), (MEBIBYTE, Some("name of waiting".to_owned())));
        assert_eq!((closing.len(), ended), (0, vec![Arc::from("named"), Arc::from("waiting")]));
    }

    #[test]
    fn nothing_waits_for_longer_than_the_deadline() {
        let mut scene = Scene::new();
        let mut session = scene.session("web");
        scene.write(&mut session, 1);
        let attach = |scene: &mut Scene, session: &mut Session, after| {
            session.attach_metadata(&scene.directory, &scene.ledger, scene.begin + after, false, &mut scene.out);
            scene.take()
        };
        assert_eq!(attach(&mut scene, &mut session, DEADLINE / 2), (0, None));
        assert_eq!(attach(&mut scene, &mut session, DEADLINE), (MEBIBYTE, None));
        assert_eq!(scene.failed(), 1);
    }
}
