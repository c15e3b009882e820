//! Kills of `quorate hsm rotate-kek`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use super::{Aim, Moments, Objects, kill, usual};
use crate::rotation::{audit, field, named, place, sign};
use crate::run_ends;

const KILLS: usize = 60;

#[test]
fn no_kill_of_a_rotation_loses_anything() {
    let (root, mut nodes) = place("sealed");
    // Without the trial of all profiles, which makes an RSA key and takes nearly all the time.
    let rotate = ["hsm", "rotate-kek", "--profile", "token-gcm"];
    let mut moments = Moments::begin();
    let usual = usual(|| drop(nodes[0].ask(&rotate).object()));
    let mut aims = [usual, usual / 2, usual / 16].map(Aim);
    let (mut early, mut making, mut moving, mut late, mut torn) = (0, 0, 0, 0, 0);
    let mut left = BTreeSet::new();
    for number in 0..KILLS {
        let before = field(&nodes[0], "key_id");
        // By turns: at any moment of it; while the KEK is made; while blobs move, which takes least.
        let after = [None, Some("rotation.attempts"), Some("rotation.toml")][number % 3];
        let aim = &mut aims[number % 3];
        let attempts = nodes[0].folder.join("rotation.attempts");
        let attempts_before = fs::read(&attempts).ok();
        let watched = after.map(|name| nodes[0].folder.join(name));
        let watched = watched.map(|file| (file.clone(), fs::read(file).ok()));
        // The list of attempts may be there from before.
        let begun = || watched.as_ref().is_none_or(|(file, before)| fs::read(file).ok() != *before);
        let objects = Objects::now(root.path());
        let mut command = nodes[0].prepare(&rotate);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let at_work = kill(&mut command, begun, moments.below(aim.0));
        torn += usize::from(objects.must_be_whole());
        let planned = nodes[0].folder.join("rotation.toml").exists();
        let changed = field(&nodes[0], "key_id") != before;
        // What comes next is too late for one that is to fall before it.
        aim.learn(changed || (planned && number % 3 == 1));
        match (planned, changed, at_work) {
            (true, ..) => moving += 1,
            (false, true, _) => late += 1,
            (false, false, true) if fs::read(&attempts).ok() != attempts_before => making += 1,
            (false, false, _) => early += 1,
        }
        if planned {
            run_ends(&nodes[0]).message(15, &["not finished"]);
        }
        let done = nodes[0].ask(&rotate).object();
        assert_eq!(done["continued"], planned);
        left = done["leftover"]
            .as_array()
            .unwrap()
            .iter()
            .map(|left| left["name"].as_str().unwrap().to_owned())
            .chain(left)
            .collect();
        let now = field(&nodes[0], "key_id").unwrap();
        assert_eq!(named(&nodes[0]), BTreeSet::from([now.clone()]), "kill {number}");
        assert!(!left.contains(&now), "a KEK in use is called left over");
        if number % 20 == 19 {
            sign(root.path(), &mut nodes, &number.to_string());
        }
    }
    println!(
        "a rotation takes {usual:?}; killed before a KEK is made {early}, while it is made {making}, with \
         the plan {moving}, after it {late}; SoftHSM's own file torn {torn}; left over {left:?}"
    );
    assert!(making >= KILLS / 10 && moving >= KILLS / 10, "the kills miss what they are for");
    for id in &left {
        nodes[0].ask(&["hsm", "destroy-kek", "--key-id", id, "--yes"]).object();
    }
    assert_eq!(nodes[0].ask(&rotate).object()["leftover"], serde_json::json!([]));
    audit(&nodes[0]);
    sign(root.path(), &mut nodes, "1000");
}
