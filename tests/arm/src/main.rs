//! Reads cases from the host's file `cases`, and prints what each comes to.
//!
//! A case: the policy's length and the request's in four big-endian bytes each, the time in eight, then both.
#![no_std]
#![no_main]

mod verdict;

use cortex_m_rt::entry;
use semihosting::fs::File;
use semihosting::io::{Read as _, Result};
use semihosting::{println, process};

/// More than any policy or request has.
const ROOM: usize = 64 * 1024;

#[entry]
fn main() -> ! {
    match judge_all() {
        Ok(()) => process::exit(0),
        Err(error) => {
            println!("the cases cannot be read: {error:?}");
            process::exit(1)
        }
    }
}

fn judge_all() -> Result<()> {
    let mut cases = File::open(c"cases")?;
    let (mut policy, mut request) = ([0; ROOM], [0; ROOM]);
    loop {
        let mut head = [0; 16];
        // The end of the file is between two cases.
        if cases.read(&mut head[..1])? == 0 {
            println!("end");
            return Ok(());
        }
        cases.read_exact(&mut head[1..])?;
        let [a, b, c, d, e, f, g, h, time @ ..] = head;
        let policy = &mut policy[..u32::from_be_bytes([a, b, c, d]) as usize];
        let request = &mut request[..u32::from_be_bytes([e, f, g, h]) as usize];
        cases.read_exact(policy)?;
        cases.read_exact(request)?;
        println!("{}", verdict::Verdict::of(policy, request, u64::from_be_bytes(time)));
    }
}
