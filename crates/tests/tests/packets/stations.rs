//! The XDP program's stations, each a program of its own: one that is missing, and what a program is spared that is loaded
//! for less than everything.

use aya::maps::{Map, MapData, ProgramArray};
use evenkeel_control::config::Protocol::Tcp;
use evenkeel_core::{Features, Reason, Station};
use evenkeel_packets::{ACK, SYN, echo, tcp, udp};
use evenkeel_tests::program::scenes::{WEB, client};
use evenkeel_tests::program::{On, PlaneUnderTest, Rig, Setup, scenes, trial, xdp};

/// The array that leads to the stations of a plane's program.
fn stations(rig: &Rig) -> ProgramArray<MapData> {
    let PlaneUnderTest::Xdp(plane) = rig.plane() else { panic!("stations are programs on XDP") };
    let ids = plane.program().unwrap().info().unwrap().map_ids().unwrap().unwrap();
    let maps = ids.into_iter().map(|id| MapData::from_id(id).unwrap());
    let array = maps.into_iter().find(|map| map.info().unwrap().name() == b"STATIONS").expect("the program has it");
    ProgramArray::try_from(Map::ProgramArray(array)).unwrap()
}

#[test]
fn a_packet_for_a_station_that_is_missing_is_dropped_and_counted_and_others_go_on() {
    trial(On::Xdp, Setup::new(scenes::rich(), 1024), |rig| {
        let established = rig.establish(Tcp, client(1), WEB);
        let opened = rig.open(Tcp, client(2), WEB);
        let lost = [
            (Station::Other, echo(client(1).ip(), WEB.ip())),
            (Station::Refuse, udp(client(3), WEB)),
            (Station::Expire, tcp(client(3), WEB, SYN).ttl(1)),
            (Station::Open, tcp(client(3), WEB, SYN)),
            (Station::Follow, opened.answers(SYN | ACK)),
        ];
        for (station, packet) in lost {
            stations(rig).clear_index(&(station as u32)).unwrap();
            rig.expect(&packet, Reason::StationMissing);
            rig.expect(&established.says(ACK), Reason::ToBackend);
            rig.expect(&established.answers(ACK), Reason::ToClient);
        }
    });
}

/// What a configuration does not use is not in its program: the station where connections are opened is shorter without.
#[test]
fn what_no_service_uses_is_removed_from_the_program() {
    let size = |features| {
        let plane = xdp::load(&Setup { features, ..Setup::new(scenes::rich(), 64) })?;
        let programs = plane.programs().map(|program| program.info().unwrap().size_translated().unwrap());
        Some(programs.sum::<u32>())
    };
    let (Some(all), Some(resets), Some(none)) = (size(Features::ALL), size(Features::RESET), size(Features::NONE))
    else {
        return; // Skipped, and said so.
    };
    println!("{all} bytes with all features, {resets} with resets alone, {none} with none");
    assert!(none < resets && resets < all);
}
