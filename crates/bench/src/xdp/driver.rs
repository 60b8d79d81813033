//! The measuring programs, loaded, and the one way to run them.

use super::tuples::Tuples;
use crate::error::BenchError;
use crate::layout::{
    BESIDE, CHUNK, EMPTY, FRAME, IN_TURN, LANES, Lane, MAX_CHUNKS, SUBJECT, State, Tuple, YARDSTICK, lane_of,
};
use aya::maps::{Array, HashMap, Map, MapData, MapError, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use std::os::fd::AsFd;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: integers without padding (sizes are asserted in `layout`).
unsafe impl Pod for Plain<Lane> {}
// SAFETY: as above.
unsafe impl Pod for Plain<State> {}

/// What one chunk of each program took, one after the other, in nanoseconds a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    empty: f64,
    yardstick: f64,
    subject: f64,
    beside: Option<f64>,
}

impl Turn {
    pub(crate) fn yardstick(&self) -> f64 {
        self.yardstick - self.empty
    }

    pub(crate) fn subject(&self) -> f64 {
        self.subject - self.empty
    }

    /// Another version, if there is one.
    pub(crate) fn beside(&self) -> Option<f64> {
        self.beside.map(|beside| beside - self.empty)
    }
}

pub(crate) struct Driver {
    ebpf: Ebpf,
    /// How many programs take turns.
    lanes: u32,
    programs: ProgramArray<MapData>,
    state: Array<MapData, Plain<State>>,
    streams: Array<MapData, Plain<Lane>>,
    stamps: Array<MapData, u64>,
    missed: Array<MapData, u64>,
    flows: HashMap<MapData, [u32; 4], u64>,
    pub(crate) tuples: Tuples,
}

impl Driver {
    /// Loads the programs, with room for `flows` in the yardstick's table and for `tuples`; `subject` is measured, `beside`
    /// another one, if there is one.
    pub(crate) fn load(
        object: &[u8],
        flows: u32,
        tuples: u32,
        subject: &ProgramFd,
        beside: Option<&ProgramFd>,
    ) -> Result<Self, BenchError> {
        // An LRU map keeps some free entries on each CPU's list; with no more than `flows` entries it would throw
        // flows out while it is being filled.
        let room = flows + flows / 8 + 1024;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("FLOWS", room)
            .map_max_entries("TUPLES", tuples)
            .load(object)
            .map_err(BenchError::driver)?;
        let tuples = match ebpf.map("TUPLES") {
            Some(Map::Array(map)) => Tuples::new(map.fd().as_fd(), tuples as usize)?,
            _ => return Err(BenchError::driver("no map TUPLES")),
        };
        let mut programs: ProgramArray<MapData> = typed(&mut ebpf, "PROGRAMS")?;
        for name in ["driver", "empty", "yardstick"] {
            program(&mut ebpf, name)?.load().map_err(BenchError::driver)?;
        }
        for (lane, name) in [(EMPTY, "empty"), (YARDSTICK, "yardstick")] {
            let loaded = program(&mut ebpf, name)?.fd().map_err(BenchError::driver)?;
            programs.set(lane, loaded, 0).map_err(BenchError::driver)?;
        }
        programs.set(SUBJECT, subject, 0).map_err(BenchError::driver)?;
        if let Some(beside) = beside {
            programs.set(BESIDE, beside, 0).map_err(BenchError::driver)?;
        }
        Ok(Self {
            lanes: if beside.is_some() { LANES } else { BESIDE },
            programs,
            state: typed(&mut ebpf, "STATE")?,
            streams: typed(&mut ebpf, "STREAMS")?,
            stamps: typed(&mut ebpf, "STAMPS")?,
            missed: typed(&mut ebpf, "MISSED")?,
            flows: typed(&mut ebpf, "FLOWS")?,
            tuples,
            ebpf,
        })
    }

    /// Puts a flow into the yardstick's table.
    pub(crate) fn add_flow(&mut self, tuple: &Tuple) -> Result<(), BenchError> {
        let key = [tuple.addresses as u32, (tuple.addresses >> 32) as u32, tuple.ports, 6];
        self.flows.insert(key, 1, 0).map_err(BenchError::driver)
    }

    /// Packets that the yardstick has not found the flow of.
    pub(crate) fn missed(&self) -> Result<u64, BenchError> {
        self.missed.get(&0, 0).map_err(BenchError::driver)
    }

    /// Gives each program `turns` chunks of its stream, in turn. The streams go on where they stopped.
    pub(crate) fn run(&mut self, streams: &mut [Lane; LANES as usize], turns: u32) -> Result<Vec<Turn>, BenchError> {
        let all = turns * self.lanes;
        self.drive(streams, IN_TURN, all)?;
        let stamps: Vec<u64> =
            (0..=all).map(|chunk| self.stamps.get(&chunk, 0).map_err(BenchError::driver)).collect::<Result<_, _>>()?;
        let mut measured = vec![Turn { empty: 0.0, yardstick: 0.0, subject: 0.0, beside: None }; turns as usize];
        for (chunk, pair) in (0..).zip(stamps.windows(2)) {
            let took = pair[1].saturating_sub(pair[0]) as f64 / f64::from(CHUNK);
            let turn = &mut measured[(chunk / self.lanes) as usize];
            match lane_of(chunk, self.lanes) {
                EMPTY => turn.empty = took,
                YARDSTICK => turn.yardstick = took,
                SUBJECT => turn.subject = took,
                _ => turn.beside = Some(took),
            }
        }
        Ok(measured)
    }

    /// How many turns a run may have at most.
    pub(crate) fn most_turns(&self) -> u32 {
        MAX_CHUNKS / self.lanes
    }

    /// Gives the program of one lane alone this many chunks of its stream.
    pub(crate) fn pour(&mut self, lane: u32, stream: &mut Lane, mut chunks: u32) -> Result<(), BenchError> {
        let mut streams = [*stream; LANES as usize];
        while chunks > 0 {
            let now = chunks.min(MAX_CHUNKS);
            self.drive(&mut streams, lane, now)?;
            chunks -= now;
        }
        *stream = streams[lane as usize];
        Ok(())
    }

    fn drive(&mut self, streams: &mut [Lane; LANES as usize], only: u32, chunks: u32) -> Result<(), BenchError> {
        for (lane, stream) in (0..).zip(streams.iter()) {
            self.streams.set(lane, Plain(*stream), 0).map_err(BenchError::driver)?;
        }
        let start = State { left: 0, lane: 0, begun: 0, wanted: chunks, only, lanes: self.lanes };
        self.state.set(0, Plain(start), 0).map_err(BenchError::driver)?;
        let frame = [0; FRAME];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        // One more: it ends the last chunk.
        options.repeat = chunks * CHUNK + 1;
        program(&mut self.ebpf, "driver")?.test_run(options).map_err(BenchError::driver)?;
        let Plain(end) = self.state.get(&0, 0).map_err(BenchError::driver)?;
        if (end.begun, end.left) != (chunks, 0) {
            return Err(BenchError::Broken(format!("the driver stopped after {} of {chunks} chunks.", end.begun)));
        }
        for (lane, stream) in (0..).zip(streams.iter_mut()) {
            Plain(*stream) = self.streams.get(&lane, 0).map_err(BenchError::driver)?;
        }
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A program that stays in the map would keep the measured program's maps alive as long as the map is.
        let _ = self.programs.clear_index(&SUBJECT);
        let _ = self.programs.clear_index(&BESIDE);
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, BenchError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| BenchError::Driver(format!("no program {name}")))
}

fn typed<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M, BenchError> {
    let map = ebpf.take_map(name).ok_or_else(|| BenchError::Driver(format!("no map {name}")))?;
    M::try_from(map).map_err(BenchError::driver)
}
