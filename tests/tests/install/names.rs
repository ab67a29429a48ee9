//! A name server that knows one name.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

/// An address of the loopback interface on which nobody else listens: resolvers know one port only.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 51, 7));

/// Answers on port 53 of [`ADDRESS`] until it is dropped.
pub struct NameServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Says that `name` is 127.0.0.1, and that no other name exists.
    pub fn start(name: &'static str) -> Result<Self> {
        let socket = UdpSocket::bind((ADDRESS, 53)).with_context(|| format!("{ADDRESS}:53: cannot listen"))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || serve(&socket, name, &ends)
        });
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has left its test without an answer, which is the better message.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, name: &str, ends: &AtomicBool) {
    let mut packet = [0; 512];
    while !ends.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
        if let Some(answer) = answer(&packet[..length], name) {
            // Who asked asks again.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to a question with one name (RFC 1035, section 4).
fn answer(question: &[u8], known: &str) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const TYPE_A: u16 = 1;
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let is_known = labels.join(".") == known;
    let has_address = is_known && kind == TYPE_A;
    let no_such_name = if is_known { 0 } else { 3 };
    let mut reply = question.get(..2)?.to_vec();
    reply.extend([0x81, 0x80 | no_such_name, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    reply.extend(question.get(HEADER..at + 4)?);
    if has_address {
        // The name is the one of the question; type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}
