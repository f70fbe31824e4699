//! Pulls from a stand-in of the hub on this machine, one that serves well and many that do not.

mod bench;
mod cache;
mod faults;
mod fetches;
mod refusals;
mod serving;
