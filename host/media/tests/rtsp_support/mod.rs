//! What tests of RTSP drive: clients and publishers by hand, and a way between others that holds back or loses packets.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod client;
pub mod proxy;
pub mod track;
