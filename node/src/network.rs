//! Placeholder.
#[doc(hidden)]
pub mod frame;
