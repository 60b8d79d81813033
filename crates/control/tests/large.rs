//! Connections one by one out of a flow table for 16,777,216 of them: no question has more than its share of the table looked
//! through, and what is put together of the answers is right.

use evenkeel_control::api::Client;
use evenkeel_control::config::Config;
use evenkeel_control::daemon::Daemon;
use evenkeel_control::operator::{FlowOrder, FlowStatus};
use evenkeel_control::{Balancer, Contents, FlowView, FlowWalk, Operator, Plane, Secrets, Sizes, WalkError};
use evenkeel_core::backend::{Link, Standing};
use evenkeel_core::flow::{
    Bucket, BucketOf, Entry, FlowKey, HopNumber, IdleTimes, Key as _, Meta, NewEntry, Now, Peer, Record as _,
};
use evenkeel_core::flow::{Side, State, Timeouts};
use evenkeel_core::{BackendRef, BackendState, Counters, Features, Service, ServiceKey, Traffic};
use evenkeel_wire::{IpProtocol, Ipv4Address, Port};
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// After so long a test has failed; no test takes anywhere near that.
const PATIENCE: Duration = Duration::from_secs(300);
/// The most buckets that are looked through for one question.
const SHARE: usize = 1 << 17;
/// The most connections in one answer, but for those in a last piece of 512 buckets.
const MOST_TOLD: usize = (1 << 14) + 512 * 8;
const NOW: Now = Now(1 << 20);
const NAT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const BACKEND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

type Table = Vec<Bucket<AtomicU64>>;

/// Two connections in each bucket, with both of their entries: what the table is made for.
const PER_BUCKET: u32 = 2;

/// A table for so many flows that has as many, all of them this backend's.
fn filled(flows: u32, backend: BackendRef) -> Table {
    let buckets = Sizes::for_flows(flows).buckets();
    let bucket = |index: u32| {
        let bucket = BucketOf::<_>(std::array::from_fn(|_| Entry::<AtomicU64>::default()));
        for which in 0..PER_BUCKET {
            let (client, service, nat) = (client(index, which), end(SERVICE, 80), nat(index, which));
            let established = |key, side, peer| {
                let entry = NewEntry::new(key, side, NOW, backend, 0, peer, HopNumber::default());
                (entry, Entry::<AtomicU64>::meta_of(&entry).with_state(State::Established).with_seen(NOW))
            };
            let entries = [
                established(FlowKey::new(client, service, IpProtocol::TCP), Side::Client, nat),
                established(FlowKey::new(end(BACKEND, 8080), nat, IpProtocol::TCP), Side::Backend, client),
            ];
            for (slot, (entry, Meta(meta))) in (2 * which as usize..).zip(entries) {
                bucket.0[slot].write(&entry);
                bucket.0[slot].meta.store(meta, Relaxed);
            }
        }
        bucket
    };
    (0..buckets).map(bucket).collect()
}

fn end(address: Ipv4Addr, port: u16) -> Peer {
    Peer { address: Ipv4Address::from(address), port: Port::from_number(port) }
}

/// A client in this bucket. The further behind the bucket, the lower its address, so that what is first in order is found last.
fn client(bucket: u32, which: u32) -> Peer {
    end(Ipv4Addr::from((u32::from(Ipv4Addr::new(20, 0, 0, 0))) - bucket), 1024 + which as u16)
}

fn nat(bucket: u32, which: u32) -> Peer {
    end(NAT, 1024 + (bucket.wrapping_mul(PER_BUCKET) + which) as u16 % 60_000)
}

fn told(peer: Peer) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(peer.address), peer.port.number()))
}

/// A plane with a flow table, and nothing else.
#[derive(Clone, Default)]
struct OnlyFlows {
    table: Arc<Mutex<Arc<Table>>>,
    /// How many buckets were looked at for questions.
    walked: Arc<AtomicUsize>,
    /// The backend's place.
    backend: Arc<Mutex<Option<BackendRef>>>,
}

impl OnlyFlows {
    fn fill(&self, flows: u32) {
        let backend = self.backend.lock().expect("nobody panics").expect("the backend has a place");
        *self.table.lock().expect("nobody panics") = Arc::new(filled(flows, backend));
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock().expect("nobody panics"))
    }
}

impl FlowWalk for OnlyFlows {
    fn buckets(&self) -> usize {
        self.table().len()
    }

    fn visit(&self, buckets: Range<usize>, visit: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
        // Connections are counted as well, all the time.
        if thread::current().name() != Some("flow-walker") {
            self.walked.fetch_add(buckets.len(), Relaxed);
        }
        let table = self.table();
        let there = table.get(buckets.start..buckets.end.min(table.len())).unwrap_or_default();
        FlowView::visit(there, &Timeouts::uniform(IdleTimes::DEFAULT), NOW, visit);
        Ok(())
    }

    fn sweep(&self, _: Range<usize>) -> Result<(), WalkError> {
        Ok(())
    }

    fn sweep_hops(&self) -> Result<(), WalkError> {
        Ok(())
    }
}

impl Plane for OnlyFlows {
    type Error = Infallible;

    fn set_our_addresses(&mut self, _: &[IpAddr]) -> Result<(), Infallible> {
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        Sizes::for_flows(1 << 24)
    }

    fn contents(&self) -> Result<Contents, Infallible> {
        Ok(Contents::default())
    }

    fn set_backend(&mut self, _: u16, _: SocketAddr, _: SocketAddr, _: IpProtocol) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_link(&mut self, index: u16, link: Link) -> Result<(), Infallible> {
        if link.state() == BackendState::Up {
            let reference = BackendRef { index, generation: link.generation() };
            *self.backend.lock().expect("nobody panics") = Some(reference);
        }
        Ok(())
    }

    fn set_standing(&mut self, _: u16, _: Standing) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_maglev(&mut self, _: &[(u32, Vec<u32>)]) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_service(&mut self, _: ServiceKey, _: Service) -> Result<(), Infallible> {
        Ok(())
    }

    fn remove_service(&mut self, _: ServiceKey) -> Result<(), Infallible> {
        Ok(())
    }

    fn provide(&mut self, _: Features, _: &Timeouts, _: Sizes) -> Result<(), Infallible> {
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Infallible> {
        Ok(Counters::ZERO)
    }

    fn traffic(&self, _: u16) -> Result<Traffic, Infallible> {
        Ok(Traffic::default())
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        Arc::new(self.clone())
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Infallible> {
        self.visit(0..self.buckets(), visit).expect("it does not fail");
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A directory of the test's own, which goes with it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A balancer with a table for so many flows, as full as it is made for, while that is asked.
async fn ask<T>(name: &str, flows: u32, questions: impl AsyncFnOnce(OnlyFlows, Client) -> T) -> T {
    let place = Place(std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id())));
    std::fs::create_dir_all(&place.0).expect("there is room");
    let text = format!(
        "[nat]\naddresses = [\"{NAT}\"]\n[[service]]\nname = \"web\"\naddress = \"{SERVICE}\"\nport = 80\n\
         protocol = \"tcp\"\nhealth = {{ kind = \"none\" }}\nbackends = [{{ address = \"{BACKEND}\", port = 8080 }}]\n"
    );
    let config = Config::parse("test", &text).expect("the test's configuration is right");
    let plane = OnlyFlows::default();
    let secrets = Secrets { pick: [1, 2], flow: [3, 4, 5, 6] };
    let operator = Operator::new(Balancer::new(plane.clone(), &secrets), "none", config, None).expect("it fits");
    plane.fill(flows);
    let socket = place.0.join("socket");
    let mut daemon = Daemon::begin(operator, Some(&socket)).await.expect("it begins");
    let work = async {
        loop {
            daemon.turn().await;
        }
    };
    tokio::select! {
        done = timeout(PATIENCE, questions(plane, Client::new(&socket))) => done.expect("it is done in time"),
        never = work => never,
    }
}

/// What came of a question that was asked on until it was answered.
struct Answers {
    flows: Vec<FlowStatus>,
    parts: usize,
    walked: usize,
    slowest: Duration,
}

/// Asks on until there are so many, or no more, and sees to it that none of the questions is more work than one may be.
async fn ask_on(plane: &OnlyFlows, client: &Client, question: &str, wanted: usize) -> Answers {
    let mut answers = Answers { flows: Vec::new(), parts: 0, walked: 0, slowest: Duration::ZERO };
    let mut next = Some(format!("/v1/flows?limit={wanted}&{question}"));
    while let Some(part) = next
        && answers.flows.len() < wanted
    {
        plane.walked.store(0, Relaxed);
        let asked = Instant::now();
        let (flows, after) = client.get_part::<Vec<FlowStatus>>(&part).await.expect("an answer");
        answers.slowest = answers.slowest.max(asked.elapsed());
        let walked = plane.walked.load(Relaxed);
        assert!(walked <= SHARE, "{walked} buckets for {part}");
        assert!(flows.len() <= MOST_TOLD, "{} connections for {part}", flows.len());
        assert!(walked > 0 || after.is_none(), "nothing was done for {part}, and so on for ever");
        answers.parts += 1;
        answers.walked += walked;
        answers.flows.extend(flows);
        next = after;
    }
    // Timing is no test; whoever reads may want to know.
    println!("{question}: {} parts, the slowest took {:?}", answers.parts, answers.slowest);
    answers
}

#[tokio::test]
async fn no_question_has_more_than_its_share_of_a_table_for_16_million_connections_looked_through() {
    let flows = 1 << 24;
    let buckets = Sizes::for_flows(flows).buckets();
    ask("large", flows, async |plane, asker| {
        assert_eq!((plane.buckets(), buckets * PER_BUCKET), (buckets as usize, flows));
        // The first ones are soon found.
        let some = ask_on(&plane, &asker, "", 101).await;
        assert_eq!((some.flows.len(), some.parts), (101, 1));

        // One that is at the end, and none.
        let last = told(client(buckets - 1, 1));
        let one = ask_on(&plane, &asker, &format!("client={last}"), 2).await;
        assert_eq!(one.flows.iter().map(|flow| flow.client).collect::<Vec<_>>(), [last]);
        assert_eq!(one.walked, buckets as usize, "everything was looked at, and nothing twice");
        assert!(one.parts >= buckets as usize / SHARE);
        let none = ask_on(&plane, &asker, "backend=192.0.2.3", 2).await;
        assert_eq!((none.flows.len(), none.walked), (0, buckets as usize));

        // More than one answer has.
        let many = ask_on(&plane, &asker, "service=web&state=established", 1_000_000).await;
        let clients: HashSet<_> = many.flows.iter().map(|flow| flow.client).collect();
        assert!(clients.len() == many.flows.len() && clients.len() >= 1_000_000, "none is told twice");

        // Who puts them together has the first of all.
        let asked = Instant::now();
        let first = asker.flows("/v1/flows?limit=5&sort=client", 5, Some(FlowOrder::Client)).await.expect("answers");
        println!("sorted: {:?} altogether", asked.elapsed());
        let expected =
            [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)].map(|(last, which)| told(client(buckets - last, which)));
        assert_eq!(first.iter().map(|flow| flow.client).collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_grows_meanwhile_is_searched_from_the_beginning() {
    let flows = 1 << 20;
    ask("growing", flows, async |plane, asker| {
        let question = format!("/v1/flows?limit=10&client={}", told(client(0, 0)));
        let (_, next) = asker.get_part::<Vec<FlowStatus>>(&question).await.expect("an answer");
        let next = next.expect("there is another part");
        plane.fill(2 * flows);
        let refused = asker.get_part::<Vec<FlowStatus>>(&next).await.expect_err("that table is no more");
        assert!(refused.to_string().contains("begin again, without \"from\""), "{refused}");
        let found = asker.flows(&next, 10, None).await.expect_err("it is the beginning of nothing");
        assert_eq!(found.to_string(), refused.to_string());

        // Who begins at the beginning finds each once, whenever the table grows.
        let everything = "/v1/flows?limit=3000000&client=20.0.0.0&sort=client";
        let grow = thread::spawn(move || plane.fill(4 * flows));
        let found = asker.flows(everything, 10, Some(FlowOrder::Client)).await.expect("answers");
        grow.join().expect("it does not panic");
        assert_eq!(
            found.iter().map(|flow| flow.client).collect::<Vec<_>>(),
            [0, 1].map(|which| told(client(0, which)))
        );
    })
    .await;
}
