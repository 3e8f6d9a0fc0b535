//! What the checker says of a store that loses something.

use super::checker_tests::{at, fails, fault, got, holds, lifted, minted, minted_by, revoked};
use super::events::{Event, Folder, Loss, Reach, Target};

fn sure() -> Event {
    revoked(Target::Link(0), Reach::Whenever, true)
}

/// The store is emptied between 5,000 and 5,100.
fn emptied() -> [Event; 2] {
    lost(Loss::Emptied)
}

/// At the same time it is put back to what it was at some time before.
fn rewound(to: u64) -> [Event; 2] {
    lost(Loss::Rewound { to: at(to) })
}

fn lost(loss: Loss) -> [Event; 2] {
    [Event::Lost { loss, from: at(5_000), until: at(5_100) }, fault(None, 5_000, 5_100)]
}

fn ended(verifier: usize, millis: u64) -> Event {
    Event::Ended { verifier, folder: Folder::Kept, at: at(millis) }
}

/// It starts again as in a new container.
fn renewed(verifier: usize, millis: u64) -> Event {
    Event::Ended { verifier, folder: Folder::Empty, at: at(millis) }
}

fn history(loss: [Event; 2], more: &[Event]) -> Vec<Event> {
    [&[minted(), sure()][..], &loss, more].concat()
}

#[test]
fn after_a_store_was_emptied_nothing_revoked_is_permitted_while_a_verifier_remembers_it() {
    for verifier in 0..4 {
        fails(&history(emptied(), &[got(verifier, 200, 5_200)]));
        holds(&history(emptied(), &[got(verifier, 503, 5_200)]));
        // Two newcomers change nothing as long as one remembers.
        fails(&history(emptied(), &[ended(1, 4_000), ended(3, 4_000), got(verifier, 200, 5_200)]));
    }
}

#[test]
fn what_no_running_verifier_remembers_is_lost() {
    let forgetful = [0, 1, 2].map(|verifier| renewed(verifier, 4_000));
    holds(&history(emptied(), &[&forgetful[..], &[got(2, 200, 5_200)]].concat()));
    holds(&history(emptied(), &[&forgetful[..], &[got(0, 200, 5_200)]].concat()));
    // The one that can only read goes on refusing, and keeps it to itself.
    fails(&history(emptied(), &[&forgetful[..], &[got(3, 200, 5_200)]].concat()));
}

#[test]
fn one_that_remembers_and_is_cut_off_writes_back_what_was_lost_when_it_is_back() {
    let only_one = [renewed(1, 4_000), renewed(2, 4_000), ended(3, 4_000), fault(Some(0), 4_500, 20_000)];
    let history = |download| history(emptied(), &[&only_one[..], &[download]].concat());
    fails(&history(got(0, 200, 6_000)));
    holds(&history(got(2, 200, 6_000)));
    holds(&history(got(2, 200, 25_990)));
    fails(&history(got(2, 200, 26_010)));
}

#[test]
fn one_that_knows_its_store_believes_no_other_before_those_who_remember_have_filled_it() {
    let cut_off = fault(Some(0), 4_500, 20_000);
    let history = |others: &[Event], verifier, status| {
        history(emptied(), &[others, &[cut_off.clone(), got(verifier, status, 9_000)]].concat())
    };
    let renewed_one = [renewed(1, 4_000)];
    holds(&history(&renewed_one, 1, 200));
    fails(&history(&renewed_one, 2, 200));
    holds(&history(&renewed_one, 2, 503));
    // A data folder that was kept says which store it was.
    fails(&history(&[ended(1, 4_000)], 1, 200));
    // One that was running and had not heard of it writes back what it knows.
    holds(&history(&[fault(Some(1), 900, 4_900)], 2, 200));
}

#[test]
fn a_store_that_came_back_as_it_was_before_is_completed_within_seconds() {
    for unaware in [2, 1] {
        let history = |loss, download| history(loss, &[ended(1, 4_000), download]);
        holds(&history(rewound(900), got(unaware, 200, 11_000)));
        fails(&history(rewound(900), got(unaware, 200, 11_200)));
        fails(&history(rewound(1_011), got(unaware, 200, 6_000)));
    }
    fails(&history(rewound(900), &[got(0, 200, 5_200)]));
    // Nothing is asked of a verifier that was cut off right after it had answered, and ended.
    holds(&history(
        rewound(900),
        &[fault(Some(1), 900, 2_500), fault(Some(3), 900, 2_500), ended(0, 4_000), got(1, 200, 9_500)],
    ));
}

#[test]
fn a_revocation_that_is_answered_after_the_loss_is_not_lost() {
    let early = lost(Loss::Emptied).map(|event| match event {
        Event::Lost { loss, .. } => Event::Lost { loss, from: at(800), until: at(900) },
        _ => fault(None, 800, 900),
    });
    fails(&history(early, &[ended(0, 4_000), ended(1, 4_000), got(2, 200, 9_000)]));
}

#[test]
fn what_was_lifted_before_a_loss_may_come_back() {
    for loss in [emptied(), rewound(900)] {
        holds(&history(loss.clone(), &[lifted(3_000, true), got(1, 410, 20_000)]));
        fails(&history(loss.clone(), &[lifted(12_000, true), got(1, 410, 20_000)]));
        // One that cannot write keeps what it had known.
        holds(&history(loss, &[lifted(12_000, true), got(3, 410, 20_000)]));
    }
}

#[test]
fn in_the_end_what_is_remembered_is_there_and_what_is_lost_is_the_same_everywhere() {
    let said = |verifier, status| Event::Settled { link: 0, verifier, status };
    holds(&history(rewound(900), &[said(0, 410), said(1, 410), said(2, 410)]));
    fails(&history(rewound(900), &[said(0, 410), said(1, 410), said(2, 200)]));
    let forgotten = [0, 1, 2].map(|verifier| renewed(verifier, 4_000));
    holds(&history(emptied(), &[&forgotten[..], &[said(0, 200), said(1, 200), said(2, 200)]].concat()));
    fails(&history(emptied(), &[&forgotten[..], &[said(0, 200), said(1, 410), said(2, 200)]].concat()));
}

#[test]
fn counts_that_were_lost_are_refused_and_those_that_came_back_may_be_used_again() {
    let counted = minted_by(0, 100, Some(1));
    let by = |client, status, started| match got(0, status, started) {
        Event::Downloaded { link, verifier, started, ended, .. } => {
            Event::Downloaded { link, verifier, client, status, started, ended }
        }
        other => other,
    };
    let history = |loss: [Event; 2], later| [&[counted.clone(), by(1, 200, 500)][..], &loss, &[later]].concat();
    fails(&history(emptied(), by(2, 200, 9_000)));
    holds(&history(emptied(), by(2, 503, 60_000)));
    holds(&history(rewound(400), by(2, 200, 9_000)));
}
