//! What a flow table without end, a plane that is slow, and anybody who may ask for metrics do to a balancer at work: nothing.

use evenkeel_control::api::Client;
use evenkeel_control::config::Config;
use evenkeel_control::daemon::{Daemon, Turn};
use evenkeel_control::operator::{Condition, Status};
use evenkeel_control::{Balancer, Contents, FlowView, FlowWalk, Operator, Plane, Secrets, Sizes, WalkError};
use evenkeel_core::backend::{Link, Standing};
use evenkeel_core::flow::Timeouts;
use evenkeel_core::{Counters, Features, Service, ServiceKey, Traffic};
use evenkeel_wire::IpProtocol;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;
use tokio::time::timeout;

/// After so long a test has failed; no test takes anywhere near that.
const PATIENCE: Duration = Duration::from_secs(60);

/// A plane that takes everything and does nothing.
#[derive(Clone, Default)]
struct NoPlane {
    /// Whether a walk through the flow table comes to no end.
    endless: Arc<AtomicBool>,
    /// How often somebody has begun to read everything.
    read: Arc<AtomicUsize>,
    /// How many more times reading the counters, and walking, panics.
    panics: Arc<AtomicUsize>,
    /// What is waited for whenever the counters are read.
    hold: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl Plane for NoPlane {
    type Error = Infallible;

    fn set_our_addresses(&mut self, _: &[IpAddr]) -> Result<(), Infallible> {
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        Sizes::for_flows(64)
    }

    fn contents(&self) -> Result<Contents, Infallible> {
        Ok(Contents::default())
    }

    fn set_backend(&mut self, _: u16, _: SocketAddr, _: SocketAddr, _: IpProtocol) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_link(&mut self, _: u16, _: Link) -> Result<(), Infallible> {
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
        self.read.fetch_add(1, Relaxed);
        panic_if(&self.panics);
        if let Some(hold) = &self.hold {
            hold.lock().expect("nobody panics").recv_timeout(PATIENCE).expect("somebody lets it go on");
        }
        Ok(Counters::ZERO)
    }

    fn traffic(&self, _: u16) -> Result<Traffic, Infallible> {
        Ok(Traffic::default())
    }

    fn flow_walk(&self) -> Arc<dyn FlowWalk> {
        Arc::new(Endless(Arc::clone(&self.endless), Arc::clone(&self.panics)))
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), Infallible> {
        self.flow_walk().visit(0..1, visit).expect("it does not fail");
        Ok(())
    }

    fn sweep_flows(&self) -> Result<(), Infallible> {
        self.flow_walk().sweep(0..1).expect("it does not fail");
        Ok(())
    }
}

fn panic_if(times: &AtomicUsize) {
    let left = times.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    assert!(left.is_err(), "a test's");
}

/// A flow table of which a piece takes as long as it is told to.
struct Endless(Arc<AtomicBool>, Arc<AtomicUsize>);

impl FlowWalk for Endless {
    fn buckets(&self) -> usize {
        1
    }

    fn visit(&self, _: Range<usize>, _: &mut dyn FnMut(FlowView)) -> Result<(), WalkError> {
        panic_if(&self.1);
        while self.0.load(Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn sweep(&self, buckets: Range<usize>) -> Result<(), WalkError> {
        self.visit(buckets, &mut |_| {})
    }

    fn sweep_hops(&self) -> Result<(), WalkError> {
        Ok(())
    }
}

/// Ends an endless walk when it is dropped.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// A directory of the test's own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody has at the moment.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("there is one")
}

fn config(backend: SocketAddr, metrics: Option<SocketAddr>) -> Config {
    let metrics = metrics.map_or_else(String::new, |listen| format!("[metrics]\nlisten = \"{listen}\"\n"));
    let text = format!(
        "[nat]\naddresses = [\"192.0.2.1\"]\n{metrics}[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nport = 80\n\
         protocol = \"tcp\"\nhealth = {{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\" }}\n\
         backends = [{{ address = \"192.0.2.2\", port = {} }}]\n",
        backend.port()
    );
    let mut config = Config::parse("test", &text).expect("the test's configuration is right");
    // A file cannot name it.
    config.services[0].backends[0].address = Ipv4Addr::LOCALHOST.into();
    config
}

async fn begin(plane: NoPlane, config: Config, place: &Place) -> Daemon<NoPlane> {
    let secrets = Secrets { pick: [1, 2], flow: [3, 4, 5, 6] };
    let operator = Operator::new(Balancer::new(plane, &secrets), "none", config, None).expect("it fits");
    Daemon::begin(operator, Some(&place.socket())).await.expect("it begins")
}

/// Has the daemon work until this is done.
async fn meanwhile<T>(daemon: &mut Daemon<NoPlane>, done: impl Future<Output = T>) -> T {
    let work = async {
        loop {
            daemon.turn().await;
        }
    };
    tokio::select! {
        done = timeout(PATIENCE, done) => done.expect("it is done in time"),
        never = work => never,
    }
}

#[tokio::test]
async fn a_flow_table_without_end_keeps_nobody_waiting() {
    let place = Place::new("endless");
    let server = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let plane = NoPlane { endless: Arc::new(AtomicBool::new(true)), ..NoPlane::default() };
    let endless = Arc::clone(&plane.endless);
    let metrics = free();
    let config = config(server.local_addr().expect("it is bound"), Some(metrics));
    let mut daemon = begin(plane, config, &place).await;
    // A piece is short; a walk is given up between two of them.
    let _over = Over(endless);
    let client = Client::new(&place.socket());
    let status: Status = meanwhile(&mut daemon, client.get("/v1/status")).await.expect("an answer");
    assert_eq!(status.services.len(), 1);
    let text = meanwhile(&mut daemon, tokio::task::spawn_blocking(move || scrape(metrics))).await.expect("an answer");
    assert!(text.contains("evenkeel_flows"), "{text}");
    drop(server);
    let is_down = async {
        loop {
            if let Turn::Judged(judgements) = daemon.turn().await
                && judgements[0].condition == Condition::Down
            {
                return;
            }
        }
    };
    timeout(PATIENCE, is_down).await.expect("checks go on");
}

/// What is done for one question takes as long as it takes, on the one thread that answers. Checks do not wait for it.
#[tokio::test]
async fn checks_go_on_while_a_question_is_answered() {
    let place = Place::new("slow");
    let server = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let config = config(server.local_addr().expect("it is bound"), None);
    let (go_on, hold) = mpsc::channel();
    let plane = NoPlane { hold: Some(Arc::new(Mutex::new(hold))), ..NoPlane::default() };
    let mut daemon = begin(plane, config, &place).await;
    // Ten checks later the question may be answered.
    let checked = thread::spawn(move || {
        for _ in 0..10 {
            server.accept().expect("a check");
        }
        go_on.send(()).expect("the plane waits");
    });
    let client = Client::new(&place.socket());
    meanwhile(&mut daemon, client.get::<serde_json::Value>("/v1/counters")).await.expect("an answer");
    checked.join().expect("it was checked");
}

/// Whatever panics, on the thread that answers or on that which counts: it is noted, and the next question is answered.
#[tokio::test]
async fn a_panic_ends_nothing() {
    let place = Place::new("panic");
    let plane = NoPlane::default();
    let panics = Arc::clone(&plane.panics);
    let metrics = free();
    let mut daemon = begin(plane, config(free(), Some(metrics)), &place).await;
    let client = Client::new(&place.socket());
    panics.store(2, Relaxed);
    // It may be the one, or the other, that meets with a panic.
    let answers = async {
        while panics.load(Relaxed) > 0 {
            let _ = client.get::<serde_json::Value>("/v1/counters").await;
        }
        client.get::<serde_json::Value>("/v1/counters").await.expect("an answer");
        loop {
            let text = tokio::task::spawn_blocking(move || scrape(metrics)).await.expect("it does not panic");
            if text.contains("evenkeel_control_failures_total{kind=\"panic\"} 2") {
                return;
            }
        }
    };
    meanwhile(&mut daemon, answers).await;
}

fn connect(metrics: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(metrics).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

fn scrape(metrics: SocketAddr) -> String {
    let mut stream = connect(metrics);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and then the end");
    text
}

/// More than are served at once.
const CROWD: usize = 200;

#[tokio::test]
async fn those_who_come_and_say_nothing_keep_nobody_out() {
    let place = Place::new("crowd");
    let metrics = free();
    let mut daemon = begin(NoPlane::default(), config(free(), Some(metrics)), &place).await;
    let asked = tokio::task::spawn_blocking(move || {
        let crowd: Vec<_> = (0..CROWD).map(|_| connect(metrics)).collect();
        let answer = scrape(metrics);
        // They are all there until then: nobody's time was over.
        let (waiting, gone) = crowd.into_iter().partition::<Vec<_>, _>(|stream| {
            stream.set_nonblocking(true).expect("it can be");
            let mut stream = stream;
            matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        (answer, waiting.len(), gone.len())
    });
    let (answer, waiting, gone) = meanwhile(&mut daemon, asked).await.expect("it does not panic");
    assert!(answer.contains("evenkeel_flows"), "{answer}");
    // Otherwise the answer came when most of them had been there for too long, and had to go anyway.
    assert!(waiting > 32 && gone > 32, "{waiting} wait, and {gone} had to make room");
}

#[tokio::test]
async fn who_asks_and_asks_has_the_operator_read_once_in_a_while() {
    let place = Place::new("again");
    let metrics = free();
    // What takes a while to read is good for longer.
    let (go_on, hold) = mpsc::channel();
    let plane = NoPlane { hold: Some(Arc::new(Mutex::new(hold))), ..NoPlane::default() };
    let read = Arc::clone(&plane.read);
    let mut daemon = begin(plane, config(free(), Some(metrics)), &place).await;
    let asked = tokio::task::spawn_blocking(move || {
        let slow = thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            (0..100).for_each(|_| {
                let _ = go_on.send(());
            });
        });
        let texts: Vec<_> = (0..50).map(|_| scrape(metrics)).collect();
        slow.join().expect("it does not panic");
        texts
    });
    let texts = meanwhile(&mut daemon, asked).await.expect("it does not panic");
    assert!(texts.iter().all(|text| text.contains("evenkeel_flows")));
    assert!(read.load(Relaxed) < 25, "read {} times for 50 questions", read.load(Relaxed));
}
