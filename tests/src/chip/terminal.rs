//! What the person at the chip sees and presses.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a person waits for something to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the person looks for a question that is said to be there.
const ATTENTION: Duration = Duration::from_secs(10);

type Screens = Arc<(Mutex<Vec<String>>, Condvar)>;

/// The screen and the buttons.
pub(super) struct Terminal {
    stream: UnixStream,
    screens: Screens,
    /// Screens that the person has looked at.
    answered: usize,
}

impl Terminal {
    pub(super) fn new(stream: UnixStream) -> Self {
        let screens = Screens::default();
        let Ok(reader) = stream.try_clone() else { panic!("a socket cannot be shared") };
        let seen = Arc::clone(&screens);
        std::thread::spawn(move || watch(reader, &seen));
        Self { stream, screens, answered: 0 }
    }

    /// All screens so far, the empty ones too.
    pub(super) fn screens(&self) -> Vec<String> {
        self.screens.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a screen, from number `from` on, and returns its number and text.
    pub(super) fn wait(&self, from: usize, wanted: impl Fn(&str) -> bool) -> (usize, String) {
        let until = Instant::now() + PATIENCE;
        let mut screens = self.screens.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) =
                screens.iter().enumerate().skip(from).find(|(_, text)| wanted(text))
            {
                return (found.0, found.1.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such screen, only {:?}", &*screens);
            screens = self
                .screens
                .1
                .wait_timeout(screens, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The person turns all pages and agrees, or refuses on the first: one press for each page that appears. A
    /// press more would wait in the line, and answer the next question.
    pub(super) fn answer(&mut self, confirm: bool) {
        while let Some(text) = self.next_question() {
            self.press(if confirm { b'y' } else { b'n' });
            let last = text.rsplit_once("\npage ").and_then(|(_, place)| place.split_once('/'));
            if !confirm || last.is_none_or(|(page, pages)| page == pages) {
                return;
            }
        }
    }

    /// The next screen that asks something; a chip without power shows none.
    fn next_question(&mut self) -> Option<String> {
        let until = Instant::now() + ATTENTION;
        let mut screens = self.screens.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(text) = screens.get(self.answered) {
                self.answered += 1;
                if text.contains('\n') {
                    return Some(text.clone());
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.screens.1.wait_timeout(screens, left);
            screens = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A chip without power takes no notice.
    pub(super) fn press(&mut self, key: u8) {
        let _ = self.stream.write_all(&[key]);
    }
}

fn watch(mut stream: UnixStream, screens: &Screens) {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for byte in buffer.iter().take(count) {
            match *byte {
                b'\x0c' => text.clear(),
                // The end of a screen.
                0x03 => {
                    let screen = String::from_utf8_lossy(&text).trim_end().to_owned();
                    screens.0.lock().unwrap_or_else(PoisonError::into_inner).push(screen);
                    screens.1.notify_all();
                }
                byte => text.push(byte),
            }
        }
    }
}
