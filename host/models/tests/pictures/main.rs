//! Pictures from servers that mean no good, and from names that lead where they should not. The network is a test's own:
//! names have the addresses that it says, and every connection leads to its server, whatever the address.

mod addresses;
mod answers;
mod bench;
mod kept;
mod served;
