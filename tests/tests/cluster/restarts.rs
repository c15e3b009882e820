//! Nodes that go and come back, as they were or as they were long ago.

use quorate_node::handle::ServiceError;
use quorate_tests::cluster::{Cluster, Deadlines, FEE, Hsm, Transfer};

use super::{good, refused};

#[test]
fn a_node_that_restarts_in_the_middle_has_its_keys() {
    let mut cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    for (nonce, party) in cluster.ids().into_iter().enumerate() {
        let before = cluster.client(party).show_key("pay").unwrap();
        // By turns: killed, and stopped.
        if party % 2 == 0 {
            cluster.kill(party)
        } else {
            cluster.terminate(party)
        }
        let other = party % 4 + 1;
        let request = cluster.request(&key, &Transfer::number(nonce as u64));
        let (signed, _) = good(&key, cluster.client(other).sign(&request));
        assert!(!signed.signers.contains(&party));
        cluster.fence(other);
        cluster.start(party);
        cluster.wait_linked();
        let after = cluster.client(party).show_key("pay").unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
        // It has not seen that signature, and still does not sign a second time.
        let (again, _) = good(&key, cluster.client(party).sign(&request));
        assert_eq!(again.raw_transaction, signed.raw_transaction);
        let request = cluster.request(&key, &Transfer::number(100 + nonce as u64));
        good(&key, cluster.client(party).sign(&request));
    }
}

#[test]
fn a_folder_put_back_to_an_older_copy_signs_or_refuses_cleanly() {
    let deadlines = Deadlines { key: 10_000, accept: 1_000, sign: 4_000 };
    let mut cluster = Cluster::running(4, Hsm::Software, Some(deadlines));
    let old_key = cluster.create_key(2, "old", &cluster.policy());
    cluster.terminate(2);
    let copy = cluster.copy_folder(2);
    cluster.start(2);
    cluster.wait_linked();

    // What the copy does not know of: signatures, also ones of which party 2 was a signer, and a key.
    cluster.kill(4);
    let value = 500;
    let known = cluster.request(&old_key, &Transfer { value, ..Transfer::number(0) });
    let (signed, _) = good(&old_key, cluster.client(2).sign(&known));
    assert_eq!(signed.signers, [1, 2, 3]);
    cluster.start(4);
    cluster.wait_linked();
    let new_key = cluster.create_key(2, "new", &cluster.policy());
    let with_new = cluster.request(&new_key, &Transfer::number(0));
    let (signed_with_new, _) = good(&new_key, cluster.client(2).sign(&with_new));
    cluster.fence(2);

    cluster.terminate(2);
    cluster.restore_folder(2, &copy);
    cluster.start(2);
    cluster.wait_linked();

    // Its peers have seen more of its log than it has: it stops by itself, and stays so.
    for _ in 0..2 {
        cluster.wait_for("party 2 knows that it was put back", || {
            let status = cluster.client(2).status().map_err(|error| error.to_string())?;
            if status.rolled_back { Ok(()) } else { Err("not yet".to_owned()) }
        });
        let error = refused(cluster.client(2).sign(&known));
        let ServiceError::Sealed { reason } = &error else { panic!("{error:?}") };
        assert!(reason.contains("earlier state") && reason.contains("quorate readmit"), "{reason}");
        cluster.terminate(2);
        cluster.start(2);
        cluster.wait_linked();
    }
    let other = cluster.request(&old_key, &Transfer::number(7));
    cluster.kill(4);
    let error = refused(cluster.client(1).sign(&other));
    let ServiceError::NotEnoughParties { have, reasons, .. } = &error else { panic!("{error:?}") };
    assert_eq!((have.as_slice(), reasons[0].0), ([1, 3].as_slice(), 2), "{error:?}");
    cluster.start(4);
    cluster.wait_linked();
    cluster.terminate(2);
    let unsure = cluster.command(2, &["readmit"]).error(2).to_string();
    assert!(unsure.contains("--accept-loss") && unsure.contains("fully spent"), "{unsure}");
    let readmitted = cluster.command(2, &["readmit", "--accept-loss"]).json();
    assert_eq!((&readmitted["readmitted"], &readmitted["generation"]), (&true.into(), &1.into()));
    cluster.start(2);
    cluster.wait_linked();
    assert!(!cluster.client(2).status().unwrap().rolled_back);

    // Repeated, through the party that forgot it: the others have the record.
    let (again, _) = good(&old_key, cluster.client(2).sign(&known));
    assert_eq!((again.repeated, &again.raw_transaction), (true, &signed.raw_transaction));
    // A new one, which needs party 2.
    cluster.kill(4);
    let fresh = cluster.request(&old_key, &Transfer { value, ..Transfer::number(1) });
    let (signed_fresh, _) = good(&old_key, cluster.client(2).sign(&fresh));
    assert_eq!(signed_fresh.signers, [1, 2, 3]);

    // The key that party 2 lost: it says so itself, and to the others.
    let error = refused(cluster.client(2).sign(&with_new));
    assert!(matches!(error, ServiceError::UnknownKey { .. }), "{error:?}");
    let other = cluster.request(&new_key, &Transfer::number(1));
    let error = refused(cluster.client(1).sign(&other));
    let ServiceError::NotEnoughParties { have, reasons, .. } = &error else { panic!("{error:?}") };
    assert_eq!(have, &[1, 3]);
    assert_eq!(reasons[0], (2, "it has no active share of this key".to_owned()));
    assert_eq!(reasons[1], (4, "not connected".to_owned()));
    // The other three still sign with it, and remember what they signed.
    cluster.start(4);
    cluster.wait_linked();
    let (again, _) = good(&new_key, cluster.client(3).sign(&with_new));
    assert_eq!(again.raw_transaction, signed_with_new.raw_transaction);
    let (signed, _) = good(&new_key, cluster.client(1).sign(&other));
    assert_eq!(signed.signers, [1, 3, 4]);

    cluster.terminate_all();
    let one = u128::from(value) + u128::from(FEE);
    for party in cluster.ids() {
        let counted = [&known, &fresh].iter().filter(|r| cluster.counted(party, r)).count();
        assert_eq!(cluster.spent(party, &old_key), one * counted as u128, "party {party}");
    }
    // Parties 1 and 3 signed both.
    assert_eq!(cluster.spent(1, &old_key), 2 * one);
    assert_eq!(cluster.spent(3, &old_key), 2 * one);
}
