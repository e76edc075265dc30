//! The tutorial's service, apart from the program, so that it can be simulated: see `examples/own-resource`.

pub mod theatre;
