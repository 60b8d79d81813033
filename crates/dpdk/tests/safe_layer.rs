//! The safe layer on a real EAL, without a device: rings, ports over rings, mbufs. An mbuf that does not come back fails
//! the test that had it.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

mod support;

use evenkeel_dpdk::{Burst, DpdkError, Eal, Mbuf, Pool, Port, PortInfo, Ring};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::eal;

#[test]
fn eal_starts_once() {
    eal();
    assert_eq!(Eal::start("test", &[]).0.unwrap_err(), DpdkError::AlreadyStarted);
    assert!(Eal::version().starts_with("DPDK "));
}

#[test]
fn packets_of_any_size_are_what_was_put_in_and_go_back_to_their_pool() {
    let pool = Pool::with_room(eal(), 64, 100).unwrap();
    for length in [0, 1, 99, 100, 101, 250, 1500] {
        let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let packet = pool.mbuf(&bytes).unwrap();
        assert_eq!((packet.length(), packet.first_segment().len()), (length, length.min(100)));
        assert_eq!(packet.to_vec(), bytes);
        assert_eq!(pool.in_use(), length.div_ceil(100).max(1) as u32);
    }
    assert_eq!(pool.in_use(), 0);
    let all: Vec<_> = std::iter::from_fn(|| pool.mbuf(b"x")).collect();
    assert_eq!(all.len(), 64, "an empty pool says so");
    assert!(pool.mbuf(&[0; 101]).is_none());
    drop(all);
    assert_eq!(pool.in_use(), 0);
    let most_but_one: Vec<_> = (0..63).map(|_| pool.mbuf(b"x").unwrap()).collect();
    assert!(pool.mbuf(&[0; 101]).is_none(), "one of two segments");
    drop(most_but_one);
    assert_eq!(pool.in_use(), 0, "half a packet was given back");
}

#[test]
fn a_ring_keeps_order_refuses_what_it_has_no_room_for_and_frees_what_is_left() {
    let pool = Pool::new(eal(), 64).unwrap();
    let ring = Ring::new(eal(), 40).unwrap();
    for number in 0..40 {
        ring.put(pool.mbuf(&[number]).unwrap()).unwrap();
    }
    let refused = ring.put(pool.mbuf(&[40]).unwrap()).unwrap_err();
    assert_eq!(refused.to_vec(), [40]);
    let mut burst = Burst::new();
    ring.take(&mut burst);
    let numbers: Vec<_> = burst.iter().map(|packet| packet.first_segment()[0]).collect();
    assert_eq!(numbers, (0..32).collect::<Vec<_>>());
    drop((refused, burst));
    assert_eq!(pool.in_use(), 8);
    drop(ring);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_port_over_rings_receives_and_sends_and_its_place_can_be_taken_again() {
    let pool = Pool::new(eal(), 256).unwrap();
    // More often than there are ports: each is gone when it is dropped.
    for round in 0..40_u8 {
        let rings: Vec<_> = (0..4).map(|_| Arc::new(Ring::new(eal(), 64).unwrap())).collect();
        let mut port = Port::over_rings(eal(), &rings[..2], &rings[2..], &pool).unwrap();
        assert_eq!(port.info().driver, "net_ring");
        for (queue, mut queues) in port.queues().into_iter().enumerate() {
            rings[queue].put(pool.mbuf(&[round; 60]).unwrap()).unwrap();
            let mut burst = Burst::new();
            queues.rx.receive(&mut burst);
            assert_eq!(burst.len(), 1);
            assert_eq!(queues.tx.send(&mut burst), 0);
            rings[2 + queue].take(&mut burst);
            assert_eq!(burst[0].to_vec(), [round; 60]);
        }
        rings[0].put(pool.mbuf(b"left behind").unwrap()).unwrap();
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_a_full_transmit_queue_does_not_take_is_freed_and_counted() {
    let pool = Pool::new(eal(), 256).unwrap();
    {
        let rings: Vec<_> = (0..2).map(|_| Arc::new(Ring::new(eal(), 16).unwrap())).collect();
        let mut port = Port::over_rings(eal(), &rings[..1], &rings[1..], &pool).unwrap();
        let mut queues = port.queues().pop().unwrap();
        let mut burst: Burst<'_> = (0..32).map(|_| pool.mbuf(b"x").unwrap()).collect();
        assert_eq!(queues.tx.send(&mut burst), 16);
        assert!(burst.is_empty());
        assert_eq!(pool.in_use(), 16);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn work_is_done_on_the_main_lcore_and_a_panic_comes_back() {
    let done = AtomicUsize::new(0);
    assert_eq!(eal().lcores().len(), 1);
    eal().run(vec![
        Box::new(|| {
            done.fetch_add(1, Relaxed);
        }),
        Box::new(|| panic!("there is no second lcore")),
    ]);
    assert_eq!(done.load(Relaxed), 1);
    let panicked = std::panic::catch_unwind(|| eal().run(vec![Box::new(|| panic!("as it should"))]));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"as it should"));
}

#[test]
fn memory_that_eal_does_not_have_is_said() {
    let refused = Pool::new(eal(), 10_000_000).unwrap_err().to_string();
    assert!(refused.contains("10000000 packets") && refused.contains("-m MEGABYTES"), "{refused}");
}

#[test]
fn an_mbuf_is_a_pointer() {
    assert_eq!(size_of::<Option<Mbuf<'_>>>(), size_of::<usize>());
    PortInfo::all(eal()).unwrap();
}
