//! The screen and the buttons.

use embassy_rp::gpio::Input;
use embassy_rp::uart::{Blocking, UartTx};
use embassy_time::{Duration, Instant};
use quorate_firmware::platform::{Button, Person};

/// A contact bounces for less.
const STEADY: Duration = Duration::from_millis(30);

/// A button to ground.
pub(crate) struct Key {
    pin: Input<'static>,
    /// Since when it is down, and whether that was told.
    down: Option<(Instant, bool)>,
}

impl Key {
    pub(crate) fn new(pin: Input<'static>) -> Self {
        Self { pin, down: None }
    }

    /// Whether it was pressed since the last call: once for each time.
    fn pressed(&mut self) -> bool {
        if self.pin.is_high() {
            self.down = None;
            return false;
        }
        let (since, told) = self.down.get_or_insert((Instant::now(), false));
        let pressed = !*told && since.elapsed() >= STEADY;
        *told |= pressed;
        pressed
    }
}

/// A serial display, and two buttons.
pub(crate) struct Panel {
    pub(crate) screen: UartTx<'static, Blocking>,
    pub(crate) confirm: Key,
    pub(crate) refuse: Key,
}

impl Person for Panel {
    fn show(&mut self, text: &str) {
        // A display that does not listen cannot be helped.
        for piece in ["\x0c", text, "\n\x03"] {
            let _ = self.screen.blocking_write(piece.as_bytes());
        }
    }

    fn pressed(&mut self) -> Option<Button> {
        let (confirm, refuse) = (self.confirm.pressed(), self.refuse.pressed());
        // Who presses both does not mean yes.
        if refuse { Some(Button::Refuse) } else { confirm.then_some(Button::Confirm) }
    }
}
