//! Clients and their way to the brokers: requests, answers, connections that break, and what a client knows of leaders.

pub mod admin;
pub mod consumer;
pub mod producer;
pub mod service;

use std::collections::BTreeMap;

use bytes::Bytes;
use chronik_broker::replica::Acks;
use chronik_core::ids::{Offset, Term};
use chronik_core::metadata::{Applied, Command};

use crate::batch::Tag;
use crate::time::{MS, Micros};
use crate::world::{Event, M, World};

/// A client gives a request up after this long and takes the connection for broken.
pub const REQUEST_TIMEOUT: Micros = 4_000 * MS;
/// Pause after an error.
pub const BACKOFF: Micros = 100 * MS;

/// How long a message takes to a broker that is near.
pub const NEAR: (Micros, Micros) = (100, 1_500);
/// To one that is far away: so much is under way at once that a leader's ISR may change in the midst of it.
pub const FAR: (Micros, Micros) = (20 * MS, 300 * MS);

/// A topic's partition, by its place in the run's list.
pub type Place = usize;

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Append a batch.
    Produce { place: Place, tag: Tag, batch: Bytes, acks: Acks, timeout_ms: u64 },
    /// Read from an offset, going by an epoch.
    /// For a client that would rather read from `near`.
    Fetch { place: Place, offset: Offset, epoch: Option<Term>, max_bytes: usize, near: Option<M> },
    /// The end of the log.
    Latest { place: Place, epoch: Option<Term> },
    /// Who leads what.
    Metadata,
    /// Change metadata.
    Change(Command),
}

/// Who leads a partition, as metadata or an error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub leader: Option<M>,
    pub epoch: Option<Term>,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// The batch is appended, and as safe as was asked.
    Appended,
    /// Batches.
    Fetched(Bytes),
    /// A follower that the client may read from.
    ReadFrom(M),
    /// The end; what it is was checked where it was told.
    Latest,
    /// One route for each partition.
    Routes(Vec<Route>),
    /// The command was applied.
    Changed(Applied),
    /// Kafka's code, and where the leader is.
    Failed { code: i16, route: Option<Route> },
    /// The connection broke.
    Disconnected,
}

/// A request that has no answer yet.
pub struct Request {
    pub client: usize,
    pub to: M,
    /// The client's connection it went out on.
    pub connection: u64,
    pub ask: Ask,
}

/// A client's view of one of its connections.
#[derive(Clone, Copy, Default)]
pub struct ClientConnection {
    /// Grows with each new connection.
    pub number: u64,
    /// The life of the broker at its other end; 0 before the first request arrived.
    pub life: u64,
    last_arrival: Micros,
    last_answer: Micros,
    /// A request or an answer was lost, so none that follows arrives: they come in order or not at all.
    stalled: bool,
}

/// What a client is.
pub enum Role {
    Producer(producer::Producer),
    Consumer(consumer::Consumer),
    Admin(admin::Admin),
}

/// One client.
pub struct Client {
    pub role: Role,
    /// How long a message takes between it and a broker.
    pub latency: (Micros, Micros),
    pub connections: Vec<ClientConnection>,
    pub routes: Vec<Route>,
    /// A metadata request is under way.
    pub asking: bool,
    /// Metadata is wanted, and not before then.
    pub refresh_at: Option<Micros>,
}

impl Client {
    pub fn new(role: Role, brokers: usize, places: usize) -> Self {
        let latency = match &role {
            Role::Producer(producer) => producer.plan.latency,
            _ => NEAR,
        };
        Self {
            role,
            latency,
            connections: vec![ClientConnection::default(); brokers],
            routes: vec![Route { leader: None, epoch: None }; places],
            asking: false,
            refresh_at: Some(0),
        }
    }

    /// Takes over a route unless it is older than what is known: Kafka's rule.
    pub fn learn(&mut self, place: Place, route: Route) {
        let known = &mut self.routes[place];
        match (route.epoch, known.epoch) {
            (Some(new), Some(old)) if new < old => {}
            (Some(_), _) => *known = route,
            (None, _) => known.leader = route.leader,
        }
    }

    /// Wants metadata soon.
    pub fn refresh(&mut self, at: Micros) {
        self.refresh_at = Some(self.refresh_at.map_or(at, |known| known.min(at)));
    }
}

/// All requests under way, by number.
pub type Requests = BTreeMap<u64, Request>;

impl World {
    /// Sends a request; its number.
    pub fn request(&mut self, client: usize, to: M, ask: Ask) -> u64 {
        let number = self.next_id();
        let connection = self.clients[client].connections[to].number;
        self.requests.insert(number, Request { client, to, connection, ask });
        self.operations += 1;
        let latency = self.client_latency(client);
        let lost = !self.is_reachable(to) || !self.machines[to].powered;
        let known = &mut self.clients[client].connections[to];
        known.stalled |= lost;
        if !known.stalled {
            known.last_arrival = known.last_arrival.max(self.now + latency);
            let arrival = known.last_arrival;
            self.at(arrival, Event::Arrive(number, to));
        }
        self.after(REQUEST_TIMEOUT, Event::GiveUp(number));
        number
    }

    /// Whether clients reach a machine. None is sent to a broker whose history was given up.
    fn is_reachable(&self, to: M) -> bool {
        self.network.client_cuts[to] == 0 && !self.is_void(to)
    }

    /// Answers a request, if the way back is open.
    pub fn answer(&mut self, number: u64, told: Told) {
        let Some(request) = self.requests.get(&number) else { return };
        let (client, to, number_of) = (request.client, request.to, request.connection);
        let (latency, cut) = (self.client_latency(client), !self.is_reachable(to));
        let connection = &mut self.clients[client].connections[to];
        connection.stalled |= cut;
        if connection.number == number_of && !connection.stalled {
            connection.last_answer = connection.last_answer.max(self.now + latency);
            let arrival = connection.last_answer;
            self.at(arrival, Event::Answer(number, Box::new(told)));
        }
    }

    /// An answer arrived at its client.
    pub fn answered(&mut self, number: u64, told: Told) {
        let Some(request) = self.requests.get(&number) else { return };
        let (client, to) = (request.client, request.to);
        if request.connection != self.clients[client].connections[to].number {
            return;
        }
        if matches!(told, Told::Disconnected) {
            return self.disconnected(client, to);
        }
        let request = self.requests.remove(&number).expect("just seen");
        self.tell(number, request, told);
    }

    /// No answer came in time.
    pub fn give_up(&mut self, number: u64) {
        if let Some(request) = self.requests.get(&number) {
            self.disconnected(request.client, request.to);
        }
    }

    /// A connection broke: everything that waits on it has no answer.
    pub fn disconnected(&mut self, client: usize, to: M) {
        let connection = &mut self.clients[client].connections[to];
        let number = connection.number;
        *connection = ClientConnection { number: number + 1, ..ClientConnection::default() };
        let mine = |request: &Request| request.client == client && request.to == to;
        let lost: Vec<u64> = self.requests.iter().filter(|(_, r)| mine(r)).map(|(n, _)| *n).collect();
        for lost in lost {
            let request = self.requests.remove(&lost).expect("just listed");
            self.tell(lost, request, Told::Disconnected);
        }
    }

    /// A process ended: its clients' connections break, at once or when they give up.
    pub fn break_clients(&mut self, at: M) {
        let mut clients: Vec<usize> =
            self.requests.values().filter(|request| request.to == at).map(|request| request.client).collect();
        clients.sort_unstable();
        clients.dedup();
        for client in clients {
            let number = self.clients[client].connections[at].number;
            let latency = self.client_latency(client);
            self.after(latency, Event::Disconnect(client, at, number));
        }
    }

    /// The other end closed a connection.
    pub fn disconnect(&mut self, client: usize, to: M, connection: u64) {
        if self.clients[client].connections[to].number == connection && self.is_reachable(to) {
            self.disconnected(client, to);
        }
    }

    fn tell(&mut self, number: u64, request: Request, told: Told) {
        let client = request.client;
        if let Ask::Metadata = request.ask {
            return self.learn_routes(client, told);
        }
        if let Told::Failed { route: Some(route), .. } = &told
            && let Ask::Produce { place, .. } | Ask::Fetch { place, .. } | Ask::Latest { place, .. } =
                request.ask
            && route.leader.is_some()
        {
            self.clients[client].learn(place, *route);
        }
        // Error 20 and 7 tell nothing about the leader; Kafka's clients stay with it.
        let elsewhere = match &told {
            Told::Failed { code, .. } => !matches!(code, 20 | 7 | 45),
            Told::Disconnected => true,
            _ => false,
        };
        if elsewhere {
            let soon = self.now + BACKOFF;
            self.clients[client].refresh(soon);
        }
        match &self.clients[client].role {
            Role::Producer(_) => self.producer_told(client, number, &request, told),
            Role::Consumer(_) => self.consumer_told(client, &request, told),
            Role::Admin(_) => self.admin_told(client, told),
        }
    }

    /// Asks some broker for metadata, if it is time.
    pub fn refresh_routes(&mut self, client: usize) {
        let now = self.now;
        let known = &mut self.clients[client];
        if known.asking || known.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        (known.asking, known.refresh_at) = (true, None);
        let to = self.chance.clients.index(self.machines.len());
        self.request(client, to, Ask::Metadata);
    }

    fn learn_routes(&mut self, client: usize, told: Told) {
        let soon = self.now + BACKOFF;
        let known = &mut self.clients[client];
        known.asking = false;
        let Told::Routes(routes) = told else { return known.refresh(soon) };
        for (place, route) in routes.into_iter().enumerate() {
            known.learn(place, route);
        }
        if known.routes.iter().any(|route| route.leader.is_none()) {
            known.refresh(soon);
        }
    }
}
