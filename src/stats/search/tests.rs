//! Searches on devices that are formulas; `tests/mlrsearch.rs` has less simple ones, and another implementation.

use super::*;

/// Runs a search on a device, which says of a load and of the number of the trial what share is lost. Returns the trials.
fn run(search: &mut Search, mut device: impl FnMut(f64, usize) -> f64) -> Vec<Ask> {
    let mut asked = Vec::new();
    while let Some(ask) = search.ask() {
        assert_eq!(search.ask(), Some(ask), "asking changes nothing");
        let loss_ratio = device(ask.load as f64, asked.len());
        search.note(ask, Shown { loss_ratio, forwarded: ask.load as f64 * (1.0 - loss_ratio) });
        asked.push(ask);
        assert!(asked.len() < 1000, "it does not end: {:?}", &asked[990..]);
    }
    asked
}

/// What a device loses that forwards at most so much.
fn loss(load: f64, capacity: f64) -> f64 {
    (1.0 - capacity / load).max(0.0)
}

/// The bounds, which are there.
fn bounds(search: &Search, goal: usize) -> (f64, f64) {
    let Bounds { lower, upper } = search.found(goal).bounds;
    (lower.expect("a lower bound") as f64, upper.expect("an upper bound") as f64)
}

#[test]
fn the_border_is_between_the_bounds_wherever_it_is() {
    for capacity in [3.0, 17.0, 999.0, 50_000.0, 123_457.0, 1e6, 7.7e7] {
        for goal in [Goal::quick(0.005), Goal::quick(0.0), Goal::thorough(0.005)] {
            let mut search = Search::new(vec![goal], 1..=100_000_000);
            let asked = run(&mut search, |load, _| loss(load, capacity));
            let (lower, upper) = bounds(&search, 0);
            let border = capacity / (1.0 - goal.loss_ratio);
            assert!(lower <= border && border < upper, "{capacity}: {lower}..{upper}, not {border}");
            assert!(upper - lower <= 1.0 || upper - lower <= upper * goal.width * 1.0001, "{lower}..{upper}");
            let throughput = search.found(0).throughput.expect("it holds");
            assert!(throughput <= capacity + 0.01 && throughput > capacity * 0.97 - 1.0, "{throughput}");
            // A load takes 1.5 or 1.75 s, and there are few besides the bounds.
            let seconds: f64 = asked.iter().map(|ask| ask.seconds).sum();
            assert!(seconds <= 6.0 * goal.sum_s * 0.6, "{capacity}: {seconds} s for {goal:?}");
        }
    }
}

#[test]
fn where_the_highest_load_holds_there_is_no_upper_bound_and_where_the_least_does_not_no_lower_one() {
    let mut search = Search::new(vec![Goal::quick(0.005)], 10..=1000);
    let asked = run(&mut search, |_, _| 0.0);
    assert_eq!(search.found(0).bounds, Bounds { lower: Some(1000), upper: None });
    assert_eq!((search.found(0).throughput, asked.len()), (Some(1000.0), 6), "as few trials as decide it");

    let mut search = Search::new(vec![Goal::quick(0.005)], 10..=1000);
    run(&mut search, |_, _| 1.0);
    assert_eq!(search.found(0), Found { bounds: Bounds { lower: None, upper: Some(10) }, throughput: None });
}

#[test]
fn one_search_finds_the_borders_of_several_goals() {
    // What is lost grows so slowly that the goals have borders of their own.
    let device = |load: f64, _| (0.2 * (load / 100_000.0 - 1.0)).max(0.0);
    let goals = [0.0, 0.005, 0.01].map(Goal::quick);
    let mut together = Search::new(goals.to_vec(), 1..=10_000_000);
    let trials = run(&mut together, device).len();
    let mut apart = 0;
    for (at, goal) in goals.into_iter().enumerate() {
        let border = 100_000.0 * (1.0 + goal.loss_ratio / 0.2);
        let (lower, upper) = bounds(&together, at);
        assert!(
            lower <= border && border <= upper && upper - lower <= 0.0201 * upper,
            "{lower}..{upper}, not {border}"
        );
        apart += run(&mut Search::new(vec![goal], 1..=10_000_000), device).len();
    }
    assert!(trials < apart, "{trials} trials, {apart} one after the other");
}

/// The share of trials that something else disturbs is below the exceed ratio.
#[test]
fn trials_that_something_else_disturbs_do_not_move_the_bounds() {
    let mut search = Search::new(vec![Goal::quick(0.005)], 1..=100_000_000);
    run(&mut search, |load, at| if at % 4 == 3 { 0.5 } else { loss(load, 50_000.0) });
    let (lower, upper) = bounds(&search, 0);
    assert!(
        (lower / 50_251.0 - 1.0).abs() < 0.02 && upper > 50_251.0 && upper - lower < 0.021 * upper,
        "{lower}..{upper}"
    );
}

/// A hint that is wrong costs steps, and no more.
#[test]
fn a_device_that_forwards_little_when_it_is_overloaded_is_searched_upwards() {
    let mut search = Search::new(vec![Goal::quick(0.005)], 1..=100_000_000);
    let device = |load: f64, _| if load <= 80_000.0 { 0.0 } else { 1.0 - 100.0 / load };
    let asked = run(&mut search, device);
    let (lower, upper) = bounds(&search, 0);
    assert!(lower <= 80_000.0 && 80_000.0 < upper && asked.len() < 60, "{lower}..{upper} in {} trials", asked.len());
}
