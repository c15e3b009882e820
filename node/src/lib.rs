//! One party of a Quorate group: network, policy, storage, API and command line.
//!
//! - [`service`]: one party's mind: which request becomes a session, and what each message means.
//! - [`mod@run`]: the loop that feeds it; [`hsm_threads`]: where calls of the HSM may block; [`handle`]: the
//!   seam to the faces.
//! - [`network`]: authenticated transport of opaque frames; [`message`]: what parties say in them;
//!   [`channels`]: what is between, where a party lives in a device.
//! - [`device`]: the host's end of the link to a device; [`relay`]: a node that does nothing else than to relay for
//!   one.
//! - [`audit`]: a party's log as auditors read it, and how they check it.
//! - [`store`]: durable shares, counters, audit; [`sealing`], [`identity`]: what protects them, and who
//!   this party is;
//!   [`rotation`]: the same under a new key-encryption key; [`device_log`]: a device's own log.
//! - [`api`], [`client`], [`commands`], [`demo`]: the faces.
//! - [`config`], [`membership`], [`policy_file`]: files that people write.

pub mod api;
pub mod audit;
pub mod channels;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod demo;
pub mod device;
pub mod device_log;
pub mod entropy;
pub mod exit;
pub mod facts;
pub mod handle;
pub mod hardening;
pub mod hsm_threads;
pub mod identity;
pub mod membership;
pub mod message;
pub mod network;
pub mod policy_file;
pub mod relay;
pub mod rotation;
pub mod run;
pub mod sealing;
pub mod service;
pub mod store;
pub mod typed_data;
