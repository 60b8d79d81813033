//! Which rows of the services' table are to be seen.

use super::model::{Backend, Model, Service};
use super::view::Sort;
use evenkeel_control::operator::State;
use std::cmp::Reverse;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    Service(&'a Service),
    Backend(&'a Backend),
}

/// All rows: a service, its backends, the next service.
pub(super) fn count(model: &Model) -> usize {
    model.services.iter().map(|service| 1 + service.backends.len()).sum()
}

/// The rows from one on, at most so many. The first is always a service, if need be in the place of one of its backends:
/// otherwise nobody would know whose backends those are.
pub(super) fn visible(model: &Model, sort: Sort, first: usize, height: usize) -> Vec<Row<'_>> {
    let mut rows = Vec::with_capacity(height);
    let mut skip = first;
    for service in services(model, sort) {
        if rows.len() == height {
            break;
        }
        let length = 1 + service.backends.len();
        if skip >= length {
            skip -= length;
            continue;
        }
        // Only the backends of services that are seen are put in order.
        rows.push(Row::Service(service));
        let room = height - rows.len();
        rows.extend(backends(service, sort).into_iter().skip(skip).take(room).map(Row::Backend));
        skip = 0;
    }
    rows
}

fn services(model: &Model, sort: Sort) -> Vec<&Service> {
    let mut services: Vec<_> = model.services.iter().collect();
    match sort {
        Sort::File => {}
        Sort::Packets => services.sort_by(|one, other| descending(one.pace.packets, other.pace.packets)),
        Sort::Flows => services.sort_by_key(|service| Reverse(service.flows)),
        Sort::Trouble => services.sort_by_cached_key(|service| {
            let [up, draining, down] = [State::Up, State::Draining, State::Down].map(|state| service.count(state));
            Reverse((up == 0, down, draining))
        }),
    }
    services
}

fn backends(service: &Service, sort: Sort) -> Vec<&Backend> {
    let mut backends: Vec<_> = service.backends.iter().collect();
    match sort {
        Sort::File => {}
        Sort::Packets => backends.sort_by(|one, other| descending(one.pace.packets, other.pace.packets)),
        Sort::Flows => backends.sort_by_key(|backend| Reverse(backend.status.flows)),
        Sort::Trouble => backends.sort_by_key(|backend| match backend.status.state {
            State::Down => 0,
            State::Draining => 1,
            State::Up => 2,
        }),
    }
    backends
}

fn descending(one: Option<f64>, other: Option<f64>) -> std::cmp::Ordering {
    other.unwrap_or(0.0).total_cmp(&one.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::model::fixture::{answer, backend, service};
    use super::*;
    use proptest::prelude::*;

    fn model(backends: &[usize]) -> Model {
        let services = backends.iter().enumerate().map(|(number, count)| {
            service(&format!("s{number}"), (0..*count).map(|place| backend(place as u8, 0)).collect())
        });
        Model::new(answer(0, services.collect(), &[]))
    }

    fn names(rows: &[Row<'_>]) -> Vec<String> {
        let name = |row: &Row<'_>| match row {
            Row::Service(service) => service.name.clone(),
            Row::Backend(backend) => backend.status.address.to_string().trim_start_matches("10.0.0.").to_owned(),
        };
        rows.iter().map(name).collect()
    }

    #[test]
    fn a_page_that_begins_among_backends_names_their_service() {
        let model = model(&[3, 2]);
        assert_eq!(names(&visible(&model, Sort::File, 0, 9)), ["s0", "0", "1", "2", "s1", "0", "1"]);
        assert_eq!(names(&visible(&model, Sort::File, 2, 3)), ["s0", "2", "s1"]);
        assert_eq!(names(&visible(&model, Sort::File, 3, 3)), ["s0", "s1", "0"]);
    }

    #[test]
    fn trouble_comes_first_when_sorted_by_it() {
        let mut down = backend(7, 0);
        down.state = State::Down;
        let services = vec![service("well", vec![backend(1, 0)]), service("ill", vec![backend(2, 0), down])];
        let model = Model::new(answer(0, services, &[]));
        assert_eq!(names(&visible(&model, Sort::Trouble, 0, 9)), ["ill", "7", "2", "well", "1"]);
    }

    #[test]
    fn a_service_without_a_backend_that_is_up_is_the_worst_trouble() {
        let in_state = |last, state| evenkeel_control::operator::BackendStatus { state, ..backend(last, 0) };
        let ill = vec![backend(1, 0), in_state(2, State::Down), in_state(3, State::Down)];
        let services = vec![service("ill", ill), service("dead", vec![in_state(4, State::Draining)])];
        let model = Model::new(answer(0, services, &[]));
        assert_eq!(names(&visible(&model, Sort::Trouble, 0, 2)), ["dead", "4"]);
    }

    #[test]
    fn the_most_connections_come_first_when_sorted_by_them() {
        let (few, many) = (backend(1, 0), evenkeel_control::operator::BackendStatus { flows: 9, ..backend(2, 0) });
        let model = Model::new(answer(0, vec![service("a", vec![few.clone()]), service("b", vec![few, many])], &[]));
        assert_eq!(names(&visible(&model, Sort::Flows, 0, 9)), ["b", "2", "1", "a", "1"]);
    }

    proptest! {
        #[test]
        fn a_page_is_full_as_long_as_there_are_rows(
            backends in proptest::collection::vec(0_usize..6, 0..20),
            first in 0_usize..100,
            height in 0_usize..30,
        ) {
            let model = model(&backends);
            let rows = visible(&model, Sort::File, first, height);
            prop_assert_eq!(rows.len(), height.min(count(&model).saturating_sub(first)));
            prop_assert!(rows.first().is_none_or(|row| matches!(row, Row::Service(_))));
        }
    }
}
