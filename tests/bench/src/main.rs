//! Quorate beside its peers: what one party computes for a key and for a signature, in one process, without
//! a network. Prints `docs/BENCHMARKS.md`; progress goes to the standard error.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

mod clock;
mod ours;
mod peers;
mod policy;
mod sealing;

use clock::median;
use ours::{Ecdsa, Schnorr, Signing, generate};
use peers::{cait_sith, dkls, frost};
use quorate_core::curve::{
    EcdsaGroup, Ed25519, Fixed, Group as _, P256, SchnorrSecp256k1, Secp256k1,
};
use quorate_core::party::{PartyId, PartySet};

fn quorum(ids: &[u16]) -> PartySet {
    ids.iter().filter_map(|id| PartyId::new(*id)).collect()
}

/// One multiplication of the generator by `k256`, the unit in which machines compare.
fn unit() -> f64 {
    let scalar = Secp256k1.scalar_from_wide(&[7; 48]);
    median(2000, || Secp256k1::mul_base(std::hint::black_box(&scalar)))
}

struct Table {
    unit: f64,
}

impl Table {
    fn head(&self, title: &str, note: &str, columns: &str) {
        println!("\n## {title}\n\n{note}\n\n| {columns} |");
        println!("|{}", "---|".repeat(columns.matches('|').count() + 1));
    }

    /// Microseconds, and units.
    fn time(&self, micros: f64) -> String {
        match micros {
            ..1000.0 => format!("{micros:.0} ({:.1})", micros / self.unit),
            _ => format!("{micros:.0} ({:.0})", micros / self.unit),
        }
    }
}

fn ecdsa(table: &Table) {
    table.head(
        "ECDSA signature",
        "A member: everything from its open key to its share (R1 and R2 of `docs/PROTOCOL.md` §6.2). The \
         coordinator: combining and verifying, on top if it is a member. Opening the key (once a session) is apart.",
        "n, T | quorum | member | goal | coordinator | goal | open the key | bytes a member sends",
    );
    let cases: &[(u8, u8, &[u16], &str)] = &[
        (4, 2, &[1, 2, 3], "35"),
        (4, 2, &[1, 2, 4], ""),
        (4, 2, &[2, 3, 4], ""),
        (7, 3, &[1, 2, 3, 4, 5], "60"),
        (7, 3, &[1, 3, 4, 6, 7], ""),
        (10, 4, &[1, 2, 3, 4, 5, 6, 7], "140"),
        (10, 4, &[1, 2, 4, 5, 7, 9, 10], ""),
        (13, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9], ""),
    ];
    for (n, t, ids, goal) in cases {
        eprintln!("ECDSA, n = {n}, quorum {ids:?}");
        row::<Secp256k1>(table, *n, *t, ids, goal);
    }
    println!("\nP-256:\n\n| n, T | quorum | member | | coordinator | | open the key | bytes |");
    println!("|{}", "---|".repeat(8));
    row::<P256>(table, 4, 2, &[1, 2, 3], "");
}

fn row<G: EcdsaGroup + Fixed>(table: &Table, n: u8, t: u8, ids: &[u16], goal: &str) {
    let group = generate::<G>(n, t, 1);
    let signing = Signing::new(Ecdsa::<G>::new(&group, quorum(ids)), quorum(ids));
    let member = table.time(median(1000, || signing.member()));
    let combine = table.time(median(1000, || signing.combine()));
    let stored = &group[&PartyId::new(ids[0]).expect("a party")];
    let open = table.time(median(300, || stored.open::<G>()));
    let (coordinator_goal, sent) = (if goal.is_empty() { "" } else { "90" }, signing.sent);
    println!(
        "| {n}, {t} | {ids:?} | {member} | {goal} | {combine} | {coordinator_goal} | {open} | {sent} |"
    );
}

fn ecdsa_peers(table: &Table) {
    table.head(
        "ECDSA by others",
        "All signers in one thread, divided by their number. `cait-sith` consumes two triples a signature, made \
         before; `dkls23-core` starts from its set-up.",
        "signers | cait-sith, presign and sign | its two triples | dkls23-core, whole signature",
    );
    for signers in [2u8, 3, 5] {
        eprintln!("peers of ECDSA, {signers} signers");
        let per_party = f64::from(signers);
        let cait = cait_sith::Signers::new(signers.into());
        let sign = median(20, || cait.sign()) / per_party;
        let triples = 2.0 * median(3, || cait.triple()) / per_party;
        let dkls = dkls::Signers::new(signers);
        let whole = median(5, || dkls.sign()) / per_party;
        let [sign, triples, whole] = [sign, triples, whole].map(|time| table.time(time));
        println!("| {signers} | {sign} | {triples} | {whole} |");
    }
}

fn schnorr(table: &Table) {
    table.head(
        "Schnorr signature",
        "Stateless with 3 of 4 (T = 2), beside FROST by its crates with 2 of 4: a member's commitment and share, and \
         the coordinator's aggregation.",
        "suite | member | goal | combine | goal | FROST: commit + sign | aggregate",
    );
    let ids = [1, 2, 3];
    macro_rules! row {
        ($name:literal, $group:ty, $peer:ident, $goals:expr) => {{
            eprintln!("{}", $name);
            let group = generate::<$group>(4, 2, 1);
            let forms = Schnorr::<$group>::new(&group, quorum(&ids));
            let signing = Signing::new(forms, quorum(&ids));
            let member = table.time(median(1000, || signing.member()));
            let combine = table.time(median(1000, || signing.combine()));
            let frost = frost::$peer::Signers::new(4, 2, 2);
            let (commit, sign) = (median(500, || frost.commit()), median(500, || frost.sign()));
            let aggregate = table.time(median(500, || frost.aggregate()));
            let (commit, sign) = (table.time(commit), table.time(sign));
            let (one, other) = $goals;
            println!(
                "| {} | {member} | {one} | {combine} | {other} | {commit} + {sign} | {aggregate} |",
                $name
            );
        }};
    }
    row!("BIP-340", SchnorrSecp256k1, secp256k1, (35, 90));
    row!("Ed25519", Ed25519, ed25519, (25, 60));
}

fn frost_by_both(table: &Table) {
    table.head(
        "FROST",
        "2 of 4, in our sessions and pools, and by frost-core bare: from values in memory, and with its inputs read from \
         bytes and its outputs written to them. Ours reads what came over the wire, checks session, list and own \
         commitment, and takes the nonce out of its pool; sealing and storing the pool are not measured. Our coordinator \
         checked the points when they were offered. frost-core's share of BIP-340 takes longer when R has an odd y: \
         medians over several lists.",
        "suite | our nonce | our share | our coordinator | bare: commit | sign | aggregate \
         | bare, its inputs read from bytes: commit | sign | aggregate",
    );
    macro_rules! row {
        ($name:literal, $group:ty, $peer:ident) => {{
            eprintln!("FROST, {}", $name);
            let ours = ours::frost::measure::<$group>();
            let lists: Vec<_> = (0..9).map(|_| frost::$peer::Signers::new(4, 2, 2)).collect();
            let mut turn = lists.iter().cycle();
            let mut next = || turn.next().expect("it never ends");
            let times = [
                ours.nonce,
                ours.sign,
                ours.aggregate,
                median(900, || next().commit()),
                median(900, || next().sign()),
                median(900, || next().aggregate()),
                median(900, || next().commit_to_bytes()),
                median(900, || next().sign_from_bytes()),
                median(900, || next().aggregate_from_bytes()),
            ];
            let cells: Vec<String> = times.iter().map(|time| table.time(*time)).collect();
            println!("| {} | {} |", $name, cells.join(" | "));
        }};
    }
    row!("BIP-340", SchnorrSecp256k1, secp256k1);
    row!("Ed25519", Ed25519, ed25519);
}

fn keygen(table: &Table) {
    table.head(
        "Key generation",
        "All rounds of all parties in one thread, divided by their number. Ours signs every message, makes nonce keys \
         and pair seeds, and ends with every party checking the certificate of all; the others do not.",
        "n, T | quorate | goal | cait-sith | FROST secp256k1 | FROST Ed25519",
    );
    for (n, t, goal) in
        [(3u8, 2u8, ""), (4, 2, "500"), (5, 3, ""), (7, 3, "1000"), (10, 4, ""), (13, 5, "")]
    {
        eprintln!("key generation, {t} of {n}");
        let per_party = f64::from(n);
        let runs = if n > 7 { 3 } else { 15 };
        let ours = table.time(median(runs, || generate::<Secp256k1>(n, t, 1)) / per_party);
        if n > 7 {
            println!("| {n}, {t} | {ours} | {goal} | | | |");
            continue;
        }
        let cait = median(runs, || cait_sith::keygen(n.into(), t.into())) / per_party;
        let tr = median(runs, || frost::secp256k1::keygen(n.into(), t.into())) / per_party;
        let ed = median(runs, || frost::ed25519::keygen(n.into(), t.into())) / per_party;
        let [cait, tr, ed] = [cait, tr, ed].map(|time| table.time(time));
        println!("| {n}, {t} | {ours} | {goal} | {cait} | {tr} | {ed} |");
    }
}

fn sealed(table: &Table) {
    table.head(
        "Sealing",
        "In one SoftHSM token: AES-256-GCM by the token alone over the whole payload, with a fresh IV, and our sealed \
         blob over the same payload; by turns, and a ratio is the median of ratios. Sealing opens the new blob again \
         before it returns, so it is two calls into the token: its measure is the token's encryption and decryption \
         together. `tests/bench/run sealing` prints this table alone.",
        "payload, bytes | token encrypts | token decrypts | seal (and open again) | ratio | open | ratio | goal of both",
    );
    let sizes = [100, 4000];
    for (size, times) in sizes.iter().zip(sealing::measure(&sizes)) {
        let cells = [times.encrypt, times.decrypt, times.seal, times.open];
        let [encrypt, decrypt, seal, open] = cells.map(|time| table.time(time));
        let (seals, opens) = (times.seal_ratio, times.open_ratio);
        println!(
            "| {size} | {encrypt} | {decrypt} | {seal} | {seals:.2} | {open} | {opens:.2} | 1.3 |"
        );
    }
}

fn policies(table: &Table) {
    table.head(
        "Policy",
        "A transfer of ether by a policy with an allow-list of 1,000 recipients, bounds of value and fee, and two limits. \
         Judging: parsing the transaction, hashing it, and asking the rule, by a policy that was checked before. Checking \
         the policy's form is done once per policy.",
        "what | time | goal",
    );
    let times = policy::judgement();
    println!("| judge a request | {} | 10 |", table.time(times.judge));
    println!("| check the policy's form | {} |  |", table.time(times.check));
    println!("| check the request's signature | {} |  |", table.time(times.request));
    let times = policy::signatures();
    println!(
        "\nWhole signatures of four real processes (T = 2, software emulation of the HSM), as their client sees them, by \
         turns: of a bare digest under the smallest policy, and of that transfer under that policy. The difference is the \
         median of the differences of neighbours; other work on the machine blurs it, and blurs the processor time less, \
         which is that of all four processes for one signature.\n"
    );
    println!("| | bare, ms | with the policy, ms | difference, ms | goal |\n|---|---|---|---|---|");
    println!(
        "| until the answer | {:.2} | {:.2} | {:.2} | 0.5 |",
        times.bare, times.policy, times.difference
    );
    let (bare, policy) = (times.bare_used, times.policy_used);
    println!("| processor time | {bare:.2} | {policy:.2} | {:.2} | |", policy - bare);
}

/// A token of this run alone: the library reads the name of its configuration from the environment, which
/// must be set before the process begins.
fn with_token_folder() -> Option<std::process::ExitCode> {
    const INSIDE: &str = "QUORATE_BENCH_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        quorate_hsm::pkcs11::softhsm::write_config(folder.path()).expect("a configuration");
    let status = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("SOFTHSM2_CONF", config)
        .status()
        .expect("it starts");
    Some(if status.success() { 0.into() } else { 1.into() })
}

fn main() -> std::process::ExitCode {
    if let Some(code) = with_token_folder() {
        return code;
    }
    let table = Table { unit: unit() };
    match std::env::args().nth(1).as_deref() {
        Some("sealing") => {
            sealed(&table);
            return std::process::ExitCode::SUCCESS;
        }
        Some("policy") => {
            policies(&table);
            return std::process::ExitCode::SUCCESS;
        }
        _ => {}
    }
    println!(
        "# Benchmarks\n\nMade by `tests/bench/run`: one process, one thread, medians, microseconds per party, \
         and in parentheses the same in units of one k256 multiplication of the generator, which took {:.1} us here. \
         Empty goals were not set. The peers are the published crates, in this process.",
        table.unit
    );
    ecdsa(&table);
    ecdsa_peers(&table);
    schnorr(&table);
    frost_by_both(&table);
    keygen(&table);
    eprintln!("sealing");
    sealed(&table);
    eprintln!("policies");
    policies(&table);
    let later = unit();
    println!(
        "\nThe unit was measured again at the end: {later:.1} us. A difference says how much other work disturbed."
    );
    std::process::ExitCode::SUCCESS
}
