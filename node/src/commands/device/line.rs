//! Where a device is and what unlocks it: from the arguments, or from the folder of its relay.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_core::device::link::PIN_LENGTHS;
use zeroize::Zeroizing;

use crate::commands::{CommandError, Global};
use crate::config::{Config, ConfigError};
use crate::device::{Device, DeviceConfig, DeviceError, Line};
use crate::sealing::Source;

/// Which line.
#[derive(Args, Debug)]
pub(in crate::commands) struct LineArgs {
    /// The device is an emulator there, or something that forwards a serial line; without this and --serial, the
    /// folder's [device] says where it is
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "serial")]
    tcp: Option<String>,
    /// The device is at this serial port
    #[arg(long, value_name = "PORT")]
    serial: Option<PathBuf>,
    /// The port's speed
    #[arg(long, value_name = "BAUD", requires = "serial")]
    baud: Option<u32>,
}

/// The device that a folder relays for.
#[derive(Args, Debug)]
pub(in crate::commands) struct RelayedArgs {
    /// Make the folder of a relay: the party's share is in a device there, an emulator or something that forwards
    /// a serial line
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "device_serial")]
    device_tcp: Option<String>,
    /// The same for a device at this serial port
    #[arg(long, value_name = "PORT")]
    device_serial: Option<PathBuf>,
    /// The port's speed
    #[arg(long, value_name = "BAUD", requires = "device_serial")]
    device_baud: Option<u32>,
    /// A file with the device's PIN, readable by you alone; without it the relay asks for it
    #[arg(long, value_name = "FILE")]
    device_pin_file: Option<PathBuf>,
}

impl RelayedArgs {
    pub(in crate::commands) fn config(&self) -> Result<Option<DeviceConfig>, CommandError> {
        if self.device_tcp.is_none() && self.device_serial.is_none() {
            return match self.device_pin_file {
                None => Ok(None),
                Some(_) => Err(CommandError::Usage(
                    "--device-pin-file is for a relay: with --device-tcp or --device-serial".into(),
                )),
            };
        }
        // As it is found later, wherever the node is started from.
        let pin_file = self.device_pin_file.as_deref().map(std::path::absolute).transpose();
        let device = DeviceConfig {
            tcp: self.device_tcp.clone(),
            serial: self.device_serial.clone(),
            baud: self.device_baud,
            pin_file: pin_file.map_err(|e| CommandError::local("the PIN file's path", e))?,
        };
        device.check()?;
        Ok(Some(device))
    }
}

/// The device's PIN.
#[derive(Args, Debug)]
pub(in crate::commands) struct PinArgs {
    /// A file with the device's PIN, readable by you alone; else the folder's pin_file, or it is asked for
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

fn folder_device(global: &Global) -> Option<DeviceConfig> {
    global.config().ok().and_then(|Config { device, .. }| device)
}

impl PinArgs {
    pub(super) fn file(&self, global: &Global) -> Option<PathBuf> {
        self.pin_file.clone().or_else(|| folder_device(global)?.pin_file)
    }

    /// Read once, and tried once.
    pub(super) fn read(&self, global: &Global) -> Result<Zeroizing<String>, CommandError> {
        Ok(Source::of(self.file(global).as_deref()).read("PIN of the device: ")?)
    }
}

/// From the file, or from a person, twice.
pub(super) fn new_pin(
    _global: &Global,
    file: Option<&Path>,
) -> Result<Zeroizing<String>, CommandError> {
    let source = Source::of(file);
    let pin = source.read("new PIN of the device: ")?;
    if source == Source::Terminal && *source.read("the same again: ")? != *pin {
        return Err(CommandError::Usage("the two PINs differ; nothing was changed".to_owned()));
    }
    if !PIN_LENGTHS.contains(&pin.len()) {
        return Err(CommandError::Usage(format!(
            "a PIN has {} to {} bytes",
            PIN_LENGTHS.start(),
            PIN_LENGTHS.end()
        )));
    }
    Ok(pin)
}

impl LineArgs {
    pub(super) fn names_a_line(&self) -> bool {
        self.tcp.is_some() || self.serial.is_some()
    }

    fn line(&self, global: &Global) -> Result<Line, CommandError> {
        if self.names_a_line() {
            let (tcp, serial, baud) = (self.tcp.clone(), self.serial.clone(), self.baud);
            return Ok(DeviceConfig { tcp, serial, baud, pin_file: None }.line()?);
        }
        match global.config()?.device {
            Some(device) => Ok(device.line()?),
            None => Err(ConfigError::Field {
                field: "device",
                what: "is not there: say where the device is with --tcp or --serial",
            }
            .into()),
        }
    }
}

/// Connects, greets, and does one thing.
pub(super) fn with_device<T>(
    global: &Global,
    args: &LineArgs,
    work: impl AsyncFnOnce(&mut Device) -> Result<T, DeviceError>,
) -> Result<T, CommandError> {
    let line = args.line(global)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::local("starting the runtime", e))?;
    let done = runtime.block_on(async {
        let mut device = Device::connect(&line).await?;
        work(&mut device).await
    });
    Ok(done?)
}
