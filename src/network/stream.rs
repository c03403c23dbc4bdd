//! [`Stream`]: frames through a network, several at once: while the device computes one, the host brings the next and takes the last.
//!
//! A ring of `depth` places bounds what is in flight: a frame takes a place when it is sent and leaves it when its results are received,
//! so a sender that is too fast waits, and nothing grows. Frames share the network's intermediate values, as a device's queue runs
//! submissions in order; each has input and result buffers of its own, from the engine's pool. It starts no thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_intrusive::channel::shared::{Receiver, Sender, channel};
use futures_intrusive::sync::{SharedSemaphore, SharedSemaphoreReleaser};

use super::execute::Operand;
use super::frame::Frame;
use super::{Network, check_count};
use crate::error::{Error, Result};
use crate::value::Value;

/// The most places of a ring.
const DEEPEST: usize = 1024;

/// An input of a frame: a list of f32 for an input of f32, or a value of the input's type. Made by `into` of a reference.
#[derive(Debug, Clone, Copy)]
pub enum StreamInput<'a> {
    /// The elements of an input of f32, the last axis running fastest.
    F32(&'a [f32]),
    /// A value of the input's element type and shape.
    Value(&'a Value),
}

impl<'a> From<&'a [f32]> for StreamInput<'a> {
    fn from(list: &'a [f32]) -> Self {
        Self::F32(list)
    }
}

impl<'a> From<&'a Vec<f32>> for StreamInput<'a> {
    fn from(list: &'a Vec<f32>) -> Self {
        Self::F32(list)
    }
}

impl<'a> From<&'a Value> for StreamInput<'a> {
    fn from(value: &'a Value) -> Self {
        Self::Value(value)
    }
}

/// Of lists of references too, as of `frames.iter().map(|frame| [frame])`.
macro_rules! by_reference {
    ($($type:ty),*) => {
        $(impl<'a, 'b> From<&'a &'b $type> for StreamInput<'a> {
            fn from(input: &'a &'b $type) -> Self {
                (*input).into()
            }
        })*
    };
}
by_reference!([f32], Vec<f32>, Value);

/// A frame in its place of the ring.
struct InFlight {
    frame: Frame,
    _place: SharedSemaphoreReleaser,
}

/// Frames through a network, several at once, for one thread. Made by [`Network::stream`]; [`split`](Self::split) it for two.
///
/// Dropping it gives up the frames in flight, and all their buffers go back to the engine.
///
/// # Examples
/// ```no_run
/// # use wgconv::{Engine, Graph, Network, NetworkDesc};
/// # let network = Network::new(&Engine::new(&Default::default())?, &Graph::new(""), &NetworkDesc::default())?;
/// # let camera = || -> Option<[Vec<f32>; 1]> { None };
/// // Results come in the order of the frames.
/// for results in network.stream(3)?.run_all(std::iter::from_fn(camera)) {
///     println!("{:?}", results?[0]);
/// }
/// # Ok::<(), wgconv::Error>(())
/// ```
pub struct Stream {
    depth: usize,
    in_flight: usize,
    sender: StreamSender,
    receiver: StreamReceiver,
}

/// The half of a [`Stream`] that takes frames. Dropping it ends the stream: the receiver gets what is in flight, then `None`.
pub struct StreamSender {
    network: Network,
    places: SharedSemaphore,
    frames: Sender<InFlight>,
    /// Held while a frame is submitted, so that frames of several threads are received in the order of their submission.
    order: Mutex<()>,
    closed: Arc<AtomicBool>,
}

/// The half of a [`Stream`] that gives results, in the order in which the frames were sent. Dropping it gives up those in flight, and
/// from then on sending is an error.
pub struct StreamReceiver {
    network: Network,
    frames: Receiver<InFlight>,
    /// The frame that is waited for. It stays here when the waiting is given up.
    current: Option<InFlight>,
    closed: Arc<AtomicBool>,
}

impl Network {
    /// A ring of `depth` frames in flight, from 1 to 1024. Two keep the device busy where a frame's upload and read-back take no longer
    /// than its computation; more even out frames of the host that come irregularly.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other depth.
    pub fn stream(&self, depth: usize) -> Result<Stream> {
        if !(1..=DEEPEST).contains(&depth) {
            return Err(Error::invalid("depth", format!("is {depth}, but a ring has 1 to {DEEPEST} places")));
        }
        let (frames, received) = channel(depth);
        let closed = Arc::new(AtomicBool::new(false));
        let sender = StreamSender {
            network: self.clone(),
            places: SharedSemaphore::new(true, depth),
            frames,
            order: Mutex::new(()),
            closed: closed.clone(),
        };
        let receiver = StreamReceiver { network: self.clone(), frames: received, current: None, closed };
        Ok(Stream { depth, in_flight: 0, sender, receiver })
    }
}

impl Stream {
    /// The places of the ring, in frames.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The frames that were sent and not received.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the next thing to do is to receive.
    pub fn is_full(&self) -> bool {
        self.in_flight == self.depth
    }

    /// Sends a frame: its inputs in the order of [`Network::inputs`]. They are copied, and the work is submitted, not waited for, unless
    /// the host computes a part of it.
    ///
    /// # Errors
    /// Those of [`Network::run_values`], for this frame alone; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the ring
    /// [is full](Self::is_full), since nobody else can receive from it.
    pub fn send<'a>(&mut self, inputs: impl IntoIterator<Item = impl Into<StreamInput<'a>>>) -> Result<()> {
        if self.is_full() {
            return Err(Error::invalid("frame", format!("is one too many: {} are in flight, receive one first", self.depth)));
        }
        self.sender.send(inputs)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Waits for the results of the oldest frame in flight, in the order of [`Network::outputs`]; `None` where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost). The frame is gone then too.
    pub fn recv(&mut self) -> Option<Result<Vec<Value>>> {
        self.in_flight = self.in_flight.checked_sub(1)?;
        self.receiver.recv()
    }

    /// [`recv`](Self::recv) without blocking the thread. Given up halfway, the frame is still the next to be received.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&mut self) -> Option<Result<Vec<Value>>> {
        let left = self.in_flight.checked_sub(1)?;
        let results = self.receiver.recv_async().await;
        self.in_flight = left;
        results
    }

    /// Sends frame after frame, the ring always as full as can be, and gives the results in their order. A frame that cannot be sent is an
    /// error in its place and does not disturb the others. Frames are asked for as results are; dropping the iterator ends it all.
    pub fn run_all<V, F>(mut self, frames: F) -> impl Iterator<Item = Result<Vec<Value>>>
    where
        F: IntoIterator<Item: AsRef<[V]>>,
        for<'a> &'a V: Into<StreamInput<'a>>,
    {
        let mut frames = frames.into_iter().fuse();
        // For each frame its error where it was not sent.
        let mut order: VecDeque<Option<Error>> = (0..self.in_flight).map(|_| None).collect();
        std::iter::from_fn(move || {
            while !self.is_full() && order.len() < self.depth {
                let Some(frame) = frames.next() else { break };
                order.push_back(self.send(frame.as_ref()).err());
            }
            match order.pop_front()? {
                Some(error) => Some(Err(error)),
                None => self.recv(),
            }
        })
    }

    /// The two halves, for a thread or a task each. Frames in flight stay in flight.
    pub fn split(self) -> (StreamSender, StreamReceiver) {
        (self.sender, self.receiver)
    }
}

impl StreamSender {
    /// Waits for a place in the ring and sends a frame, as [`Stream::send`] does. May be called from several threads.
    ///
    /// # Errors
    /// Those of [`Network::run_values`], for this frame alone; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the receiver was
    /// dropped.
    pub fn send<'a>(&self, inputs: impl IntoIterator<Item = impl Into<StreamInput<'a>>>) -> Result<()> {
        let inputs = self.operands(inputs)?;
        self.submit(pollster::block_on(self.places.acquire(1)), &inputs)
    }

    /// [`send`](Self::send) that awaits a place. Given up before, nothing was sent. What the host computes of a network blocks
    /// here too.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async<'a>(&self, inputs: impl IntoIterator<Item = impl Into<StreamInput<'a>>>) -> Result<()> {
        let inputs = self.operands(inputs)?;
        self.submit(self.places.acquire(1).await, &inputs)
    }

    /// [`send`](Self::send) where there is a place; whether there was one.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn try_send<'a>(&self, inputs: impl IntoIterator<Item = impl Into<StreamInput<'a>>>) -> Result<bool> {
        let inputs = self.operands(inputs)?;
        let Some(place) = self.places.try_acquire(1) else { return Ok(false) };
        self.submit(place, &inputs).map(|()| true)
    }

    fn operands<'a>(&self, inputs: impl IntoIterator<Item = impl Into<StreamInput<'a>>>) -> Result<Vec<Operand<'a>>> {
        let operand = |input: StreamInput<'a>| match input {
            StreamInput::F32(list) => Operand::Floats(list),
            StreamInput::Value(value) => Operand::Value(value),
        };
        let inputs: Vec<_> = inputs.into_iter().map(|input| operand(input.into())).collect();
        check_count(&self.network.0.graph, inputs.len())?;
        Ok(inputs)
    }

    fn submit(&self, place: SharedSemaphoreReleaser, inputs: &[Operand]) -> Result<()> {
        let gone = || Error::invalid("frame", "has nobody to receive it: the stream's receiver was dropped");
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        let frame = self.network.start(inputs)?;
        // There is room: the channel is as long as the ring.
        self.frames.try_send(InFlight { frame, _place: place }).map_err(|_| gone())
    }
}

impl StreamReceiver {
    /// Waits for the results of the next frame, in the order of [`Network::outputs`]; `None` when the sender was dropped and all frames
    /// were received.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost). The frame is gone then too.
    pub fn recv(&mut self) -> Option<Result<Vec<Value>>> {
        if self.current.is_none() {
            self.current = Some(pollster::block_on(self.frames.receive())?);
        }
        let mut next = self.current.take()?;
        let arrived = next.frame.arrive();
        Some(arrived.and_then(|()| next.frame.read()))
    }

    /// [`recv`](Self::recv) without blocking the thread. Given up halfway, the frame is still the next to be received.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&mut self) -> Option<Result<Vec<Value>>> {
        if self.current.is_none() {
            self.current = Some(self.frames.receive().await?);
        }
        let arrived = self.current.as_mut()?.frame.arrive_async().await;
        let next = self.current.take()?;
        Some(arrived.and_then(|()| next.frame.read()))
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.frames.close();
        // Their places wake whoever waits for one.
        while self.frames.try_receive().is_ok() {}
    }
}

macro_rules! debug {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let network = &self.network;
                write!(f, "{}({network:?})", stringify!($name))
            }
        }
    )+};
}
debug!(StreamSender, StreamReceiver);

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?}, {} of {} in flight)", self.sender.network, self.in_flight, self.depth)
    }
}
