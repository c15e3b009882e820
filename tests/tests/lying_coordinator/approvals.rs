//! Approvals that are missing, of somebody else, or for something else.

use ed25519_dalek::SigningKey;

use crate::scene::{APPROVAL, Pay, Scene, approved, digest_of};

/// `request`, which has none yet, with these approvals as they are.
fn with_list(request: &[u8], approvals: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut left = approvals.len();
    while left >= 0x80 {
        length.push(left as u8 | 0x80);
        left >>= 7;
    }
    length.push(left as u8);
    // Behind it the empty list of accounts' signatures stays.
    [&request[..request.len() - 2], &length, approvals, &[0]].concat()
}

/// The list at the end of a request with `count` of them.
fn list_of(request: &[u8], count: usize) -> Vec<u8> {
    let end = request.len() - 1;
    request[end - count * APPROVAL..end].to_vec()
}

#[test]
fn approvals_cannot_be_dropped_lent_or_invented() {
    let approvers = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let [alice, bob, carol] = &approvers;
    let stranger = SigningKey::from_bytes(&[0x66; 32]);
    let scene = Scene::new(|cluster| Scene::usual(cluster, &approvers));
    let pay = Pay { value: 1_000_000, ..Pay::default() };
    let bare = scene.pay(&pay);
    let by_one = approved(&bare, alice);
    let by_two = approved(&by_one, bob);

    let too_few = |have: u8| format!("denied by rule approvals: {have} of the 2 approvals");
    scene.refused_by_all(&bare, &too_few(0));
    scene.refused_by_all(&by_one, &too_few(1));
    scene.refused_by_all(&approved(&by_one, &stranger), &too_few(1));
    // What two approved is another request.
    let other = approved(&approved(&scene.pay(&pay), alice), carol);
    let lent = with_list(&bare, &list_of(&other, 2));
    scene.refused_by_all(&lent, "the approval of ed25519:");
    scene.refused_by_all(&lent, "is not for this request");
    // One approval twice; two in the wrong order; a signature in another's name; and a part of one.
    let malformed = "the request's list of approvals is malformed";
    let one = list_of(&by_one, 1);
    scene.refused_by_all(&with_list(&bare, &[&one[..], &one].concat()), malformed);
    let two = list_of(&by_two, 2);
    let swapped = [&two[APPROVAL..], &two[..APPROVAL]].concat();
    scene.refused_by_all(&with_list(&bare, &swapped), malformed);
    let mut stolen = one.clone();
    stolen[..32].copy_from_slice(&bob.verifying_key().to_bytes());
    scene.refused_by_all(&with_list(&bare, &stolen), "is not for this request");
    scene.refused_by_all(&with_list(&bare, &one[..APPROVAL - 1]), malformed);

    // Control: two of the three, and even the liar's session gives a signature. The hash of a request
    // does not cover its approvals, so that this is another one than all of the above.
    let bare = scene.pay_well(&pay);
    let by_two = approved(&approved(&bare, bob), carol);
    let session = scene.liar.open(&by_two, digest_of(&pay.transaction()), &[2, 3]);
    scene.liar.start(&session);
    scene.is_the_keys(&by_two, &scene.liar.complete(session));
    scene.honest();
    scene.settle();
}
