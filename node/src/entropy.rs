//! The operating system's randomness, behind a seam that a test can break on purpose.

/// A source of randomness.
#[derive(Debug)]
pub struct Entropy {
    stuck: bool,
}

/// The operating system gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl std::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gives no randomness")
    }
}

impl std::error::Error for EntropyError {}

impl Entropy {
    /// The operating system's.
    #[must_use]
    pub fn os() -> Self {
        Self { stuck: false }
    }

    /// All zero: a stuck generator, for tests that show what it costs (nothing: everything is hedged).
    #[must_use]
    pub fn stuck_at_zero() -> Self {
        Self { stuck: true }
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        if self.stuck {
            out.fill(0);
            return Ok(());
        }
        getrandom::getrandom(out).map_err(|_| EntropyError)
    }
}
