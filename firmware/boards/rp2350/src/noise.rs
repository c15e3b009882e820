//! The chip's source of noise (RP2350 datasheet, 12.12), read register by register: embassy's driver panics
//! where the source fails, and a device that has no noise must go on and say so.

use embassy_rp::Peri;
use embassy_rp::pac::TRNG;
use embassy_rp::peripherals;
use embassy_time::{Duration, Instant};
use quorate_firmware::platform::{Noise, NoiseFailed};

/// Cycles between two samples of the ring oscillator.
const PERIOD: u32 = 25;
/// Bytes of a block.
const BLOCK: usize = 24;
/// A block takes about two milliseconds.
const SILENCE: Duration = Duration::from_millis(500);

/// The source. Its own tests stay on; the firmware's come on top.
pub(crate) struct Trng {
    block: [u8; BLOCK],
    used: usize,
}

impl Trng {
    pub(crate) fn new(_: Peri<'static, peripherals::TRNG>) -> Self {
        Self { block: [0; BLOCK], used: BLOCK }
    }

    fn fill(&mut self) -> Result<(), NoiseFailed> {
        start();
        let begun = Instant::now();
        loop {
            if TRNG.trng_valid().read().ehr_valid() {
                break;
            }
            if begun.elapsed() > SILENCE {
                return Err(NoiseFailed);
            }
            let state = TRNG.rng_isr().read();
            if state.autocorr_err() || state.crngt_err() || state.vn_err() {
                start();
            }
        }
        // Reading the last register clears all.
        let words = [
            TRNG.ehr_data0().read(),
            TRNG.ehr_data1().read(),
            TRNG.ehr_data2().read(),
            TRNG.ehr_data3().read(),
            TRNG.ehr_data4().read(),
            TRNG.ehr_data5().read(),
        ];
        TRNG.rnd_source_enable().write(|w| w.set_rnd_src_en(false));
        for (place, word) in self.block.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        self.used = 0;
        Ok(())
    }
}

/// From the beginning, also after one of its own tests has failed.
fn start() {
    TRNG.trng_sw_reset().write(|w| w.set_trng_sw_reset(true));
    // The reset takes as long as this.
    let _ = TRNG.trng_sw_reset().read();
    TRNG.rng_icr().write(|w| {
        w.set_ehr_valid(true);
        w.set_autocorr_err(true);
        w.set_crngt_err(true);
        w.set_vn_err(true);
    });
    TRNG.trng_config().write(|w| w.set_rnd_src_sel(1));
    TRNG.sample_cnt1().write(|w| *w = PERIOD);
    TRNG.trng_debug_control().write(|w| {
        w.set_auto_correlate_bypass(false);
        w.set_trng_crngt_bypass(false);
        w.set_vnc_bypass(false);
    });
    TRNG.rnd_source_enable().write(|w| w.set_rnd_src_en(true));
}

impl Noise for Trng {
    fn samples(&mut self, samples: &mut [u8]) -> Result<(), NoiseFailed> {
        for sample in samples {
            if self.used >= BLOCK {
                self.fill()?;
            }
            if let Some(byte) = self.block.get_mut(self.used) {
                // None is given twice.
                *sample = core::mem::take(byte);
            }
            self.used += 1;
        }
        Ok(())
    }
}
