//! From answers to rates.

use super::fixture::{answer, backend, service};
use super::*;
use proptest::prelude::*;

fn one(packets: u64, seconds: u64) -> Answer {
    answer(seconds, vec![service("web", vec![backend(2, packets)])], &[("flow-opened", packets / 10)])
}

#[test]
fn a_first_answer_has_totals_and_no_rates() {
    let model = Model::new(one(1000, 5));
    assert_eq!(model.totals.flows, 3);
    assert_eq!(model.counters[0].total, 100);
    assert_eq!((model.totals.packets, model.totals.bits, model.totals.opened), (None, None, None));
    assert_eq!(model.services[0].backends[0].pace.packets, None);
    assert!(model.services[0].pace.history.columns(60, model.seconds).is_empty());
}

#[test]
fn a_second_answer_has_rates_over_the_time_between() {
    let mut model = Model::new(one(1000, 5));
    model.take(one(1400, 7));
    assert_eq!(model.services[0].backends[0].pace.packets, Some(200.0));
    assert_eq!(model.totals.packets, Some(200.0));
    assert_eq!(model.totals.bits, Some(200.0 * 100.0 * 8.0));
    assert_eq!(model.totals.opened, Some(20.0));
    assert_eq!(model.services[0].pace.history.columns(60, model.seconds), [Some(200.0); 2]);
}

#[test]
fn a_backend_that_is_new_has_no_rate_and_does_not_count_in_the_sum() {
    let mut model = Model::new(one(1000, 5));
    model.take(answer(6, vec![service("web", vec![backend(2, 1010), backend(3, 9999)])], &[]));
    assert_eq!(model.services[0].backends[1].pace.packets, None);
    assert_eq!(model.services[0].pace.packets, Some(10.0));
}

#[test]
fn a_backend_that_has_gone_does_not_make_the_sum_fall() {
    let mut model = Model::new(answer(0, vec![service("web", vec![backend(2, 50), backend(3, 5000)])], &[]));
    model.take(answer(1, vec![service("web", vec![backend(2, 60)])], &[]));
    assert_eq!(model.totals.packets, Some(10.0));
}

#[test]
fn backends_that_change_places_keep_their_rates() {
    let mut model = Model::new(answer(0, vec![service("web", vec![backend(2, 50), backend(3, 500)])], &[]));
    model.take(answer(1, vec![service("web", vec![backend(3, 501), backend(2, 52)])], &[]));
    let rates: Vec<_> = model.services[0].backends.iter().map(|backend| backend.pace.packets).collect();
    assert_eq!(rates, [Some(1.0), Some(2.0)]);
}

#[test]
fn after_a_restart_nothing_is_compared_not_even_a_counter_that_is_larger() {
    let mut model = Model::new(one(1000, 5));
    let mut restarted = one(5000, 6);
    restarted.status.uptime_seconds = 0;
    model.take(restarted);
    assert_eq!(model.totals.packets, None);
    model.take(one(5010, 7));
    assert_eq!(model.totals.packets, Some(10.0));
}

#[test]
fn a_balancer_that_is_silent_is_shown_as_it_was() {
    let mut model = Model::new(one(1000, 5));
    model.miss("nobody is there.".to_owned());
    assert_eq!(model.age(Duration::from_secs(9)), Duration::from_secs(4));
    assert_eq!(model.totals.flows, 3);
    model.take(one(1000, 9));
    assert_eq!(model.silence, None);
}

#[test]
fn drops_stand_before_all_other_counters_and_events_behind() {
    let counters = [("to-backend", 1), ("flow-opened", 1), ("no-backend", 1), ("of-next-year", 1), ("malformed", 1)];
    let model = Model::new(answer(0, Vec::new(), &counters));
    let names: Vec<_> = model.counters.iter().map(|counter| counter.name.as_str()).collect();
    assert_eq!(names, ["malformed", "no-backend", "to-backend", "flow-opened", "of-next-year"]);
}

#[test]
fn a_counter_moves_while_the_last_minute_knows_of_it() {
    let mut model = Model::new(answer(0, Vec::new(), &[("malformed", 7), ("fragment", 0)]));
    let moving = |model: &Model| model.counters.iter().filter(|counter| counter.moves()).count();
    assert_eq!(moving(&model), 1, "it has moved once, when is not known");
    model.take(answer(1, Vec::new(), &[("malformed", 7), ("fragment", 0)]));
    assert_eq!(moving(&model), 0);
    model.take(answer(2, Vec::new(), &[("malformed", 7), ("fragment", 1)]));
    model.take(answer(30, Vec::new(), &[("malformed", 7), ("fragment", 1)]));
    assert_eq!(moving(&model), 1);
    model.take(answer(90, Vec::new(), &[("malformed", 7), ("fragment", 1)]));
    assert_eq!(moving(&model), 0);
}

proptest! {
    #[test]
    fn whatever_counters_do_no_rate_is_negative(
        readings in proptest::collection::vec((any::<u64>(), 0_u64..3, any::<bool>()), 1..20),
    ) {
        let mut seconds = 0;
        let mut model: Option<Model> = None;
        for (packets, pause, restarted) in readings {
            seconds += pause;
            let mut next = one(packets / 100, seconds);
            if restarted {
                next.status.uptime_seconds = 0;
            }
            match &mut model {
                Some(model) => model.take(next),
                None => model = Some(Model::new(next)),
            }
            let Some(model) = &model else { continue };
            let Totals { opened, packets, bits, drops, .. } = model.totals;
            for rate in [opened, packets, bits, drops].into_iter().flatten() {
                prop_assert!(rate >= 0.0 && rate.is_finite());
            }
            for column in model.services[0].pace.history.columns(15, model.seconds).into_iter().flatten() {
                prop_assert!(column >= 0.0);
            }
        }
    }
}
