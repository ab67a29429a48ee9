//! A terminal: a program runs in a real one, keys go in, and what is on its screen can be read.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use capture_tests::poll::{DEADLINE, eventually};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program in a terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs `command` in a terminal of so many rows and columns.
    pub fn run(command: &Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no terminal is to be had")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&master, Vec::new())?;
        let side = || File::options().read(true).write(true).open(name.to_str().unwrap_or_default());
        // A session of its own, whose controlling terminal this becomes: keys that are signals reach it.
        let mut session = Command::new("setsid");
        // Whoever runs the tests in the background has them ignore what a key sends, and what they start with them.
        session.args(["--ctty", "--wait", "env", "--default-signal=INT,QUIT"]);
        session.arg(command.get_program()).args(command.get_args());
        session.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = session.stdin(side()?).stdout(side()?).stderr(side()?).spawn().context("setsid")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(rows)?, size(columns)?, 0)));
        let keys = File::from(master);
        let mut output = keys.try_clone()?;
        thread::spawn({
            let screen = Arc::clone(&screen);
            move || {
                let mut piece = [0; 4096];
                // Ends when the last one who has the terminal open is gone.
                while let Ok(length @ 1..) = output.read(&mut piece) {
                    screen.lock().unwrap_or_else(PoisonError::into_inner).process(&piece[..length]);
                }
            }
        });
        Ok(Self { child, keys, screen })
    }

    /// Types.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("the terminal is closed")
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until the screen is as it should be, and gives its text.
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let found = eventually(what, DEADLINE, || Some(self.text()).filter(|text| is_so(text)));
        found.with_context(|| format!("the screen:\n{}", self.text()))
    }

    /// Waits for the end of the program, and gives its exit status and whether it has left the screen as it was.
    pub fn wait(&mut self) -> Result<(Option<i32>, bool)> {
        let status = eventually("the program to end", DEADLINE, || self.child.try_wait().transpose())??;
        let is_left = eventually("the screen to be left", DEADLINE, || {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            (!screen.screen().alternate_screen() && !screen.screen().hide_cursor()).then_some(())
        });
        Ok((status.code(), is_left.is_ok()))
    }

    /// The screen as a picture.
    pub fn svg(&self, title: &str) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        crate::top::picture::svg(screen.screen(), title)
    }
}

/// Rows or columns, of which there is one at least.
fn size(cells: u16) -> Result<NonZero<u16>> {
    NonZero::new(cells).context("a terminal without room")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself. What it started ends with its terminal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
