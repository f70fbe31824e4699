//! How many connections a door takes at once: in all, and of one address, so that nobody takes every place alone.

use crate::accept::accept;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// Refusals are not told more often, or whoever is refused would fill the log.
const SILENCE: Duration = Duration::from_secs(10);

/// Connections of one door at once; more are closed.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub all: usize,
    /// Of one address, or of one network of IPv6.
    pub per_address: usize,
}

pub(crate) struct Places {
    /// The section of the settings that its limits are in.
    door: &'static str,
    limits: ConnectionLimits,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_origin: HashMap<IpAddr, usize>,
    told_at: Option<Instant>,
}

/// Of one connection; given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    origin: IpAddr,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "there are {limit} connections, as many as are taken; raise `{door}.max_connections` if they are wanted"
    )]
    All { door: &'static str, limit: usize },
    #[error(
        "its address has {limit} connections, as many as one may have; raise `{door}.max_connections_per_address` if it stands \
         for many clients, as a proxy or a shared network does"
    )]
    OfAddress { door: &'static str, limit: usize },
}

impl Places {
    pub fn new(door: &'static str, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { door, limits, taken: Mutex::default() })
    }

    /// The next connection that there is a place for; others are closed.
    pub async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
    ) -> (TcpStream, SocketAddr, Place) {
        loop {
            let (stream, remote) = accept(listener).await;
            match self.take(remote.ip()) {
                Ok(place) => return (stream, remote, place),
                Err(refused) if self.may_tell(Instant::now()) => {
                    tracing::warn!(%remote, reason = %refused, "{} connection refused", self.door);
                }
                Err(refused) => {
                    tracing::debug!(%remote, reason = %refused, "{} connection refused", self.door);
                }
            }
        }
    }

    fn take(self: &Arc<Self>, remote: IpAddr) -> Result<Place, Refused> {
        let (door, limits, origin) = (self.door, self.limits, origin(remote));
        let mut taken = self.lock();
        if taken.by_origin.get(&origin).is_some_and(|count| *count >= limits.per_address) {
            return Err(Refused::OfAddress { door, limit: limits.per_address });
        }
        if taken.all >= limits.all {
            return Err(Refused::All { door, limit: limits.all });
        }
        taken.all += 1;
        *taken.by_origin.entry(origin).or_default() += 1;
        Ok(Place { places: self.clone(), origin })
    }

    fn may_tell(&self, now: Instant) -> bool {
        let told_at = &mut self.lock().told_at;
        let may = told_at.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        if may {
            *told_at = Some(now);
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing in between panics.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_origin.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
    }
}

/// What counts as one address: in IPv6 everybody has as many as they like, in one network of 64 bits.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: usize, per_address: usize) -> Arc<Places> {
        Places::new("rtsp", ConnectionLimits { all, per_address })
    }

    fn take(places: &Arc<Places>, address: &str) -> Result<Place, Refused> {
        places.take(address.parse().unwrap())
    }

    #[test]
    fn an_address_takes_so_many_places_and_leaves_the_others() {
        let places = places(3, 2);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        let refused = take(&places, "192.0.2.1").err().unwrap();
        assert_eq!(refused, Refused::OfAddress { door: "rtsp", limit: 2 });
        assert!(refused.to_string().contains("raise `rtsp.max_connections_per_address`"));
        let _other = take(&places, "192.0.2.2").unwrap();
        let refused = take(&places, "192.0.2.3").err().unwrap();
        assert_eq!(refused, Refused::All { door: "rtsp", limit: 3 });
        drop(first);
        let _again = take(&places, "192.0.2.1").unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let places = places(10, 1);
        let _first = take(&places, "2001:db8:0:1::1").unwrap();
        assert!(take(&places, "2001:db8:0:1:ffff::2").is_err());
        let _other = take(&places, "2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn places_that_are_given_back_leave_nothing_behind() {
        let places = places(10, 2);
        for last in 0..=255 {
            drop(take(&places, &format!("192.0.2.{last}")).unwrap());
        }
        let taken = places.lock();
        assert_eq!((taken.all, taken.by_origin.len()), (0, 0));
    }

    #[test]
    fn refusals_are_told_now_and_then() {
        let (places, now) = (places(1, 1), Instant::now());
        let told = [0, 1, 9, 10, 11].map(|s| places.may_tell(now + Duration::from_secs(s)));
        assert_eq!(told, [true, false, false, true, false]);
    }
}
