//! The operating system's randomness, behind a seam: a test can bring a source that repeats itself or
//! is stuck, and show what that costs (nothing: whatever is drawn here is hedged before use).

/// The source gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl std::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gives no randomness")
    }
}

impl std::error::Error for EntropyError {}

type Source = dyn FnMut(&mut [u8]) -> Result<(), EntropyError> + Send;

/// A source of randomness.
pub struct Entropy(Box<Source>);

impl Entropy {
    /// The operating system's.
    #[must_use]
    pub fn os() -> Self {
        Self::of(|out| getrandom::getrandom(out).map_err(|_| EntropyError))
    }

    /// Any other source.
    #[must_use]
    pub fn of(source: impl FnMut(&mut [u8]) -> Result<(), EntropyError> + Send + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        (self.0)(out)
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
