//! The checker complains about what is wrong, and about nothing else.

use super::checker::check;
use super::events::{Bearings, Event, Folder, Nature, Reach, Target, Time};

/// When the history begins, in milliseconds since 1970.
const BEGUN: u64 = 1_700_000_000_000;

pub const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// Two with an index, one that asks for each judgement, one that can only read.
pub const NATURES: [Nature; 4] = [
    Nature { has_index: true, writes: true, has_copy: false },
    Nature { has_index: true, writes: true, has_copy: false },
    Nature { has_index: false, writes: true, has_copy: false },
    Nature { has_index: true, writes: false, has_copy: false },
];

/// Link 0 is minted by verifier 0 at 100; links are of subject 1, in folder 2, file 3, by client 4.
pub fn minted() -> Event {
    minted_by(0, 100, None)
}

pub fn minted_by(verifier: usize, asked: u64, most: Option<usize>) -> Event {
    let bearings = Bearings { identity: 0, subject: 1, folder: 2, file: 3, client: 4 };
    let issued_at = BEGUN + asked + 5;
    Event::Minted { link: 0, bearings, verifier, issued_at, most, asked: at(asked), answered: at(asked + 10) }
}

/// Verifier 0 answers a revocation, asked at 1,000, at 1,010.
pub fn revoked(target: Target, reach: Reach, is_sure: bool) -> Event {
    let (asked, answered) = (at(1_000), at(1_010));
    Event::Revoked { revocation: 7, verifier: 0, target, reach, is_sure, asked, answered }
}

pub fn lifted(asked: u64, is_sure: bool) -> Event {
    Event::Lifted { revocation: 7, is_sure, asked: at(asked), answered: at(asked + 10) }
}

pub fn got(verifier: usize, status: u16, started: u64) -> Event {
    got_by(0, verifier, status, started)
}

fn got_by(client: u8, verifier: usize, status: u16, started: u64) -> Event {
    Event::Downloaded { link: 0, verifier, client, status, started: at(started), ended: at(started + 5) }
}

pub fn fault(verifier: Option<usize>, from: u64, until: u64) -> Event {
    Event::Fault { verifier, from: at(from), until: at(until) }
}

#[track_caller]
pub fn holds(events: &[Event]) {
    assert_eq!(check(&NATURES, events), []);
}

#[track_caller]
pub fn fails(events: &[Event]) {
    let violations = check(&NATURES, events);
    assert_eq!(violations.len(), 1, "{violations:?}");
}

#[test]
fn the_answering_verifier_refuses_from_its_answer_on() {
    let this = revoked(Target::Link(0), Reach::Whenever, true);
    holds(&[minted(), this.clone(), got(0, 200, 1_005)]);
    holds(&[minted(), this.clone(), got(0, 410, 1_011)]);
    fails(&[minted(), this.clone(), got(0, 200, 1_011)]);
    fails(&[minted(), this.clone(), fault(None, 900, 1_100), got(0, 200, 1_011)]);
    // It starts again, from a copy that is some seconds old at most, or from the store.
    let restarted = [
        minted(),
        this,
        Event::Ended { verifier: 0, folder: Folder::Kept, at: at(1_020) },
        fault(Some(0), 1_020, 1_300),
        got(0, 200, 1_400),
    ];
    fails(&restarted);
    let with_copy = NATURES.map(|nature| Nature { has_copy: true, ..nature });
    assert_eq!(check(&with_copy, &restarted), []);
}

#[test]
fn a_revoked_link_has_no_successor() {
    let this = revoked(Target::Link(0), Reach::Whenever, true);
    let refreshed = |started| Event::Refreshed { link: 0, verifier: 1, started: at(started), ended: at(started + 5) };
    holds(&[minted(), this.clone(), refreshed(2_000)]);
    fails(&[minted(), this, refreshed(2_020)]);
}

#[test]
fn others_refuse_within_a_second_or_when_they_are_stale() {
    let this = revoked(Target::Link(0), Reach::Whenever, true);
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
        holds(&[minted(), revoked(target, Reach::UntilNow, true), got(0, 410, 3_000)]);
        fails(&[minted(), revoked(target, Reach::UntilNow, true), got(0, 200, 3_000)]);
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
        holds(&[minted(), revoked(target, Reach::UntilNow, true), got(0, 200, 3_000)]);
        fails(&[minted(), revoked(target, Reach::UntilNow, true), got(0, 410, 3_000)]);
    }
}

#[test]
fn a_link_that_is_minted_after_the_answer_works_at_once_unless_a_block_stands() {
    let (until_now, block) =
        (revoked(Target::Subject(1), Reach::UntilNow, true), revoked(Target::Subject(1), Reach::Whenever, true));
    let at_the_same =
        |revocation: &Event, status| [minted_by(0, 1_011, None), revocation.clone(), got(0, status, 1_030)];
    holds(&at_the_same(&until_now, 200));
    fails(&at_the_same(&until_now, 410));
    fails(&at_the_same(&block, 200));
    holds(&at_the_same(&block, 410));
    // Another verifier may not have heard of it for a second, and for as long as a fault lasts.
    let elsewhere = |asked, status| [minted_by(1, asked, None), until_now.clone(), got(1, status, asked + 5_000)];
    [200, 410].into_iter().for_each(|status| holds(&elsewhere(1_500, status)));
    holds(&elsewhere(2_020, 200));
    fails(&elsewhere(2_020, 410));
    let cut_off = |status| [&elsewhere(2_020, status)[..], &[fault(Some(1), 900, 3_000)]].concat();
    [200, 410].into_iter().for_each(|status| holds(&cut_off(status)));
}

#[test]
fn a_link_that_is_minted_after_lifting_may_be_refused_where_that_is_not_known_yet() {
    let until_now = revoked(Target::Subject(1), Reach::UntilNow, true);
    let history = |downloaded| [minted_by(2, 3_100, None), until_now.clone(), lifted(3_000, true), downloaded];
    holds(&history(got(1, 410, 3_900)));
    fails(&history(got(1, 410, 4_100)));
    fails(&[minted_by(2, 3_100, None), until_now, got(1, 410, 3_900)]);
}

#[test]
fn a_time_that_is_named_covers_what_was_issued_before_it() {
    let before = |millis| revoked(Target::Subject(1), Reach::Before(BEGUN + millis), true);
    let history = |millis, status| [minted(), before(millis), got(0, status, 3_000)];
    fails(&history(106, 200));
    holds(&history(106, 410));
    fails(&history(104, 410));
    holds(&history(104, 200));
    [200, 410].into_iter().for_each(|status| holds(&history(105, status)));
}

#[test]
fn a_verifier_that_hears_nothing_permits_nothing_once_it_is_stale() {
    let blind = Event::Blind { verifier: 1, from: at(1_000), until: at(9_000) };
    let history = |verifier, started| [minted(), blind.clone(), got(verifier, 200, started)];
    holds(&history(1, 5_000));
    fails(&history(1, 5_001));
    fails(&history(1, 8_990));
    holds(&history(1, 8_996));
    holds(&history(0, 6_000));
}

#[test]
fn a_counted_link_is_downloaded_by_no_more_clients_than_it_may_be() {
    let twice = minted_by(0, 100, Some(2));
    let by = |client, status, started| got_by(client, usize::from(client) % 2, status, started);
    holds(&[twice.clone(), by(1, 200, 500), by(2, 200, 600), by(1, 200, 700), by(3, 410, 800)]);
    fails(&[twice.clone(), by(1, 200, 500), by(2, 200, 600), by(3, 200, 700)]);
    fails(&[twice.clone(), by(1, 200, 500), by(3, 410, 800)]);
    // What was not answered may have been counted.
    holds(&[twice, by(1, 200, 500), fault(None, 500, 650), by(2, 503, 600), by(3, 410, 800)]);
    // One that cannot write cannot count.
    let counting = |verifier| [minted_by(0, 100, Some(2)), got(verifier, 503, 500)];
    holds(&counting(3));
    fails(&counting(2));
}

#[test]
fn what_may_have_been_recorded_may_bite() {
    let unsure = revoked(Target::Link(0), Reach::Whenever, false);
    for status in [200, 410] {
        holds(&[minted(), unsure.clone(), got(1, status, 9_000)]);
        // It may take effect long after the answer was given up.
        let late = revoked(Target::Subject(1), Reach::UntilNow, false);
        holds(&[minted_by(0, 30_000, None), late, got(1, status, 40_000)]);
    }
    fails(&[minted(), unsure, got(1, 410, 500)]);
}

#[test]
fn what_was_lifted_works_again_within_a_second() {
    let this = revoked(Target::Link(0), Reach::Whenever, true);
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
    holds(&[minted(), fault(Some(0), 400, 600), got(0, 0, 500)]);
    fails(&[minted(), got(0, 0, 500)]);
}

#[test]
fn in_the_end_every_verifier_is_ready() {
    fails(&[minted(), Event::Unready { verifier: 2, reason: "it is not".into() }]);
}

#[test]
fn in_the_end_all_say_what_the_history_says() {
    let said = |verifier, status| Event::Settled { link: 0, verifier, status };
    let this = revoked(Target::Link(0), Reach::Whenever, true);
    holds(&[minted(), said(0, 200), said(1, 200)]);
    fails(&[minted(), said(0, 200), said(1, 410)]);
    holds(&[minted(), this.clone(), said(0, 410), said(1, 410)]);
    fails(&[minted(), this.clone(), said(0, 410), said(1, 200)]);
    fails(&[minted(), this.clone(), said(0, 410), said(1, 503)]);
    holds(&[minted(), this, lifted(3_000, true), said(0, 200), said(1, 200)]);
    let unsure = revoked(Target::Link(0), Reach::Whenever, false);
    holds(&[minted(), unsure.clone(), said(0, 410), said(1, 410)]);
    holds(&[minted(), unsure.clone(), said(0, 200), said(1, 200)]);
    fails(&[minted(), unsure, said(0, 200), said(1, 410)]);
}
