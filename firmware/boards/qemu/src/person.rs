//! The screen and the buttons, over a serial line.

use quorate_firmware::platform::{Button, Person};

use crate::uart::Uart;

/// A form feed comes before the text of a screen, and this after it.
const END: u8 = 0x03;

/// Text goes out, `y` and `n` come in.
pub struct Terminal(Uart);

impl Terminal {
    /// Over this line.
    #[must_use]
    pub fn new(uart: Uart) -> Self {
        Self(uart)
    }
}

impl Person for Terminal {
    fn show(&mut self, text: &str) {
        self.0.put(b'\x0c');
        text.bytes().for_each(|byte| self.0.put(byte));
        self.0.put(b'\n');
        self.0.put(END);
    }

    fn pressed(&mut self) -> Option<Button> {
        loop {
            match self.0.take()? {
                b'y' => return Some(Button::Confirm),
                b'n' => return Some(Button::Refuse),
                // A terminal's line ends, and whatever else is typed.
                _ => {}
            }
        }
    }
}
