//! The link to the host: USB, served by interrupts, so that the port lives while the firmware computes.

use core::convert::Infallible;

use embassy_executor::task;
use embassy_futures::join::join3;
use embassy_rp::executor::InterruptExecutor;
use embassy_rp::interrupt::{InterruptExt as _, Priority};
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{Peri, bind_interrupts, interrupt};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_usb::class::cdc_acm::{CdcAcmClass, Receiver, Sender, State};
use embassy_usb::{Builder, Config, UsbDevice};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Irqs {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

/// Bytes of a packet.
const PACKET: usize = 64;

type Bytes = Pipe<CriticalSectionRawMutex, 512>;
static IN: Bytes = Pipe::new();
static OUT: Bytes = Pipe::new();
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

#[interrupt]
unsafe fn SWI_IRQ_0() {
    // SAFETY: `start` comes before the interrupt is enabled, and nothing else calls this.
    unsafe { EXECUTOR.on_interrupt() }
}

/// The firmware's end of the port.
pub(crate) struct Usb;

impl Usb {
    pub(crate) fn start(usb: Peri<'static, USB>) -> Self {
        interrupt::SWI_IRQ_0.set_priority(Priority::P2);
        let spawner = EXECUTOR.start(interrupt::SWI_IRQ_0);
        if let Ok(serve) = serve(usb) {
            spawner.spawn(serve);
        }
        Self
    }
}

#[task]
async fn serve(usb: Peri<'static, USB>) {
    static CONFIGURATION: ConstStaticCell<[u8; 128]> = ConstStaticCell::new([0; 128]);
    static CONTROL: ConstStaticCell<[u8; 64]> = ConstStaticCell::new([0; 64]);
    static STATE: StaticCell<State<'static>> = StaticCell::new();

    let driver = Driver::new(usb, Irqs);
    // For prototypes: a product has numbers of its own.
    let mut config = Config::new(0xc0de, 0xcafe);
    config.manufacturer = Some("Quorate");
    config.product = Some("Quorate party");
    let mut builder =
        Builder::new(driver, config, CONFIGURATION.take(), &mut [], &mut [], CONTROL.take());
    let class = CdcAcmClass::new(&mut builder, STATE.init(State::new()), PACKET as u16);
    let (sender, receiver) = class.split();
    let mut device: UsbDevice<'_, _> = builder.build();
    join3(device.run(), send(sender), receive(receiver)).await;
}

async fn send(mut sender: Sender<'static, Driver<'static, USB>>) {
    let mut packet = [0; PACKET];
    loop {
        sender.wait_connection().await;
        loop {
            // One less than a packet: a full one would have to be followed by an empty one.
            let length = match packet.split_last_mut() {
                Some((_, packet)) => OUT.read(packet).await,
                None => 0,
            };
            if sender.write_packet(packet.get(..length).unwrap_or_default()).await.is_err() {
                break;
            }
        }
    }
}

async fn receive(mut receiver: Receiver<'static, Driver<'static, USB>>) {
    let mut packet = [0; PACKET];
    loop {
        receiver.wait_connection().await;
        while let Ok(length) = receiver.read_packet(&mut packet).await {
            // The host waits while there is no room.
            IN.write_all(packet.get(..length).unwrap_or_default()).await;
        }
    }
}

impl ErrorType for Usb {
    type Error = Infallible;
}

impl ReadReady for Usb {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!IN.is_empty())
    }
}

impl Read for Usb {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            match IN.try_read(buffer) {
                Ok(count) => return Ok(count),
                Err(_) => cortex_m::asm::wfe(),
            }
        }
    }
}

impl Write for Usb {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        loop {
            match OUT.try_write(bytes) {
                Ok(count) => return Ok(count),
                Err(_) => cortex_m::asm::wfe(),
            }
        }
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
