//! Connections that can be cut or stopped.
//!
//! Every byte between the participant and the fake coordinator passes here. Faults: all connections are cut at once, as when
//! a coordinator is killed; nobody listens, as before it is started again; or nothing passes any more and nobody is told, as
//! when a switch dies (a half-open connection).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes on their way between the two ends of a connection.
const BUFFER_BYTES: usize = 256 << 10;
/// Connections that were accepted and that the transport has not yet taken.
const WAITING_CONNECTIONS: usize = 64;

/// What the transport takes its connections from.
pub type Connections = ReceiverStream<io::Result<DuplexStream>>;

/// All connections of one address.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    is_frozen: watch::Sender<bool>,
    connections: mpsc::Sender<io::Result<DuplexStream>>,
    accepting: JoinHandle<()>,
}

/// What one connection listens to.
#[derive(Clone)]
struct Orders {
    cuts: watch::Receiver<u64>,
    is_frozen: watch::Receiver<bool>,
}

impl Link {
    /// Listens on a free loopback port.
    pub async fn listen() -> io::Result<(Link, Connections)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, connections) = mpsc::channel(WAITING_CONNECTIONS);
        let (cuts, is_frozen) = (watch::Sender::new(0), watch::Sender::new(false));
        let orders = Orders::of(&cuts, &is_frozen);
        let link = Link {
            address,
            cuts,
            is_frozen,
            connections: sender.clone(),
            accepting: tokio::spawn(accept(listener, orders, sender)),
        };
        Ok((link, ReceiverStream::new(connections)))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection that is open now.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection, and listens no more, until [`Link::open`].
    pub async fn close(&mut self) {
        if !self.accepting.is_finished() {
            self.accepting.abort();
            // The port is free once the task is gone; how it ended does not matter.
            let _ = (&mut self.accepting).await;
        }
        self.cut();
    }

    /// Listens again, where it did before.
    pub async fn open(&mut self) -> io::Result<()> {
        if self.accepting.is_finished() {
            let listener = TcpListener::bind(self.address).await?;
            let orders = Orders::of(&self.cuts, &self.is_frozen);
            self.accepting = tokio::spawn(accept(listener, orders, self.connections.clone()));
        }
        Ok(())
    }

    /// Lets nothing pass on any connection, until [`Link::thaw`].
    pub fn freeze(&self) {
        self.is_frozen.send_replace(true);
    }

    /// Lets everything pass again.
    pub fn thaw(&self) {
        self.is_frozen.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Orders {
    fn of(cuts: &watch::Sender<u64>, is_frozen: &watch::Sender<bool>) -> Self {
        Orders {
            cuts: cuts.subscribe(),
            is_frozen: is_frozen.subscribe(),
        }
    }
}

async fn accept(listener: TcpListener, orders: Orders, connections: mpsc::Sender<io::Result<DuplexStream>>) {
    // An error here is the end of the machine's patience, not of one connection: nobody dials in any more, and that is seen.
    while let Ok((outside, _)) = listener.accept().await {
        let _ = outside.set_nodelay(true);
        let (inside, far_end) = tokio::io::duplex(BUFFER_BYTES);
        let mut orders = orders.clone();
        orders.cuts.mark_unchanged();
        tokio::spawn(carry(outside, far_end, orders));
        if connections.send(Ok(inside)).await.is_err() {
            return;
        }
    }
}

/// Carries one connection to its end. What it holds is closed when it returns.
async fn carry(mut outside: TcpStream, mut far_end: DuplexStream, mut orders: Orders) {
    let mut copy = pin!(copy_bidirectional(&mut outside, &mut far_end));
    loop {
        let is_frozen = *orders.is_frozen.borrow_and_update();
        tokio::select! { biased;
            _ = orders.cuts.changed() => return,
            changed = orders.is_frozen.changed() => if changed.is_err() { return },
            _ = &mut copy, if !is_frozen => return,
        }
    }
}
