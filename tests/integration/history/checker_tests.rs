//! The checker complains about what is wrong, and about nothing else.

use super::checker::*;

const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// Link 0 is minted at 100; links are of subject 1, in folder 2, file 3, by client 4.
fn minted() -> Event {
    let bearings = Bearings { subject: 1, folder: 2, file: 3, client: 4 };
    Event::Minted { link: 0, bearings, asked: at(100), answered: at(110) }
}

/// Verifier 0 answers a revocation, asked at 1,000, at 1,010.
fn revoked(target: Target, is_standing: bool, is_sure: bool) -> Event {
    let (asked, answered) = (at(1_000), at(1_010));
    Event::Revoked { revocation: 7, verifier: 0, target, is_standing, is_sure, asked, answered }
}

fn lifted(asked: u64, is_sure: bool) -> Event {
    Event::Lifted { revocation: 7, is_sure, asked: at(asked), answered: at(asked + 10) }
}

fn got(verifier: usize, status: u16, started: u64) -> Event {
    Event::Downloaded { link: 0, verifier, status, started: at(started), ended: at(started + 5) }
}

fn fault(verifier: Option<usize>, from: u64, until: u64) -> Event {
    Event::Fault { verifier, from: at(from), until: at(until) }
}

#[track_caller]
fn holds(events: &[Event]) {
    assert_eq!(check(events), []);
}

#[track_caller]
fn fails(events: &[Event]) {
    assert_eq!(check(events).len(), 1, "{:?}", check(events));
}

#[test]
fn the_answering_verifier_refuses_from_its_answer_on() {
    let this = revoked(Target::Link(0), true, true);
    holds(&[minted(), this.clone(), got(0, 200, 1_005)]);
    holds(&[minted(), this.clone(), got(0, 410, 1_011)]);
    fails(&[minted(), this.clone(), got(0, 200, 1_011)]);
    fails(&[minted(), this, fault(None, 900, 1_100), got(0, 200, 1_011)]);
}

#[test]
fn others_refuse_within_a_second_or_when_they_are_stale() {
    let this = revoked(Target::Link(0), true, true);
    holds(&[minted(), this.clone(), got(1, 200, 2_000)]);
    fails(&[minted(), this.clone(), got(1, 200, 2_020)]);
    let cut_off = fault(Some(1), 500, 9_000);
    holds(&[minted(), this.clone(), cut_off.clone(), got(1, 200, 5_000)]);
    fails(&[minted(), this.clone(), cut_off.clone(), got(1, 200, 5_020)]);
    fails(&[minted(), this, cut_off, got(2, 200, 2_020)]);
}

#[test]
fn every_kind_of_target_covers_its_links_and_no_others() {
    let covering = [
        Target::Link(0),
        Target::Subject(1),
        Target::Path { folder: 2, file: 3 },
        Target::Folder(2),
        Target::Client(4),
        Target::Everything,
    ];
    for target in covering {
        holds(&[minted(), revoked(target, false, true), got(0, 410, 3_000)]);
        fails(&[minted(), revoked(target, false, true), got(0, 200, 3_000)]);
    }
    let others = [
        Target::Link(1),
        Target::Subject(2),
        Target::Path { folder: 2, file: 4 },
        Target::Path { folder: 3, file: 3 },
        Target::Folder(3),
        Target::Client(5),
    ];
    for target in others {
        holds(&[minted(), revoked(target, false, true), got(0, 200, 3_000)]);
        fails(&[minted(), revoked(target, false, true), got(0, 410, 3_000)]);
    }
}

#[test]
fn a_link_that_is_minted_later_is_covered_by_a_standing_block_only() {
    let bearings = Bearings { subject: 1, folder: 2, file: 3, client: 4 };
    let minted = |asked| Event::Minted { link: 0, bearings, asked: at(asked), answered: at(asked + 10) };
    for (status, is_wrong_later, is_wrong_with_a_block) in [(200, false, true), (410, true, false)] {
        let download = got(0, status, 9_000);
        holds(&[minted(1_500), revoked(Target::Subject(1), false, true), download.clone()]);
        let later = check(&[minted(3_020), revoked(Target::Subject(1), false, true), download.clone()]);
        assert_eq!(!later.is_empty(), is_wrong_later, "{status}");
        let blocked = check(&[minted(3_020), revoked(Target::Subject(1), true, true), download]);
        assert_eq!(!blocked.is_empty(), is_wrong_with_a_block, "{status}");
    }
}

#[test]
fn what_may_have_been_recorded_may_bite() {
    let unsure = revoked(Target::Link(0), true, false);
    for status in [200, 410] {
        holds(&[minted(), unsure.clone(), got(1, status, 9_000)]);
    }
    fails(&[minted(), unsure, got(1, 410, 500)]);
}

#[test]
fn what_was_lifted_works_again_within_a_second() {
    let this = revoked(Target::Link(0), true, true);
    let history = |download| vec![minted(), this.clone(), lifted(3_000, true), download];
    fails(&history(got(0, 200, 2_990)));
    for status in [200, 410] {
        holds(&history(got(0, status, 3_001)));
        holds(&history(got(1, status, 3_900)));
    }
    holds(&history(got(1, 200, 4_100)));
    fails(&history(got(1, 410, 4_100)));
    let unsure = |status| vec![minted(), this.clone(), lifted(3_000, false), got(1, status, 9_000)];
    holds(&unsure(200));
    holds(&unsure(410));
}

#[test]
fn nothing_valid_is_refused_but_while_something_is_wrong() {
    holds(&[minted(), got(0, 200, 500)]);
    for status in [503, 410, 403, 404, 500] {
        fails(&[minted(), got(0, status, 500)]);
    }
    let wrong = [fault(Some(0), 400, 600), fault(None, 400, 600)];
    for fault in wrong {
        holds(&[minted(), fault.clone(), got(0, 503, 500)]);
        holds(&[minted(), fault.clone(), got(0, 503, 6_500)]);
        fails(&[minted(), fault.clone(), got(0, 503, 6_700)]);
        fails(&[minted(), fault, got(0, 410, 500)]);
    }
    fails(&[minted(), fault(Some(1), 400, 600), got(0, 503, 500)]);
}

#[test]
fn in_the_end_all_say_what_the_history_says() {
    let said = |verifier, status| Event::Settled { link: 0, verifier, status };
    let this = revoked(Target::Link(0), true, true);
    holds(&[minted(), said(0, 200), said(1, 200)]);
    fails(&[minted(), said(0, 200), said(1, 410)]);
    holds(&[minted(), this.clone(), said(0, 410), said(1, 410)]);
    fails(&[minted(), this.clone(), said(0, 410), said(1, 200)]);
    fails(&[minted(), this.clone(), said(0, 410), said(1, 503)]);
    holds(&[minted(), this, lifted(3_000, true), said(0, 200), said(1, 200)]);
    let unsure = revoked(Target::Link(0), true, false);
    holds(&[minted(), unsure.clone(), said(0, 410), said(1, 410)]);
    holds(&[minted(), unsure.clone(), said(0, 200), said(1, 200)]);
    fails(&[minted(), unsure, said(0, 200), said(1, 410)]);
}
