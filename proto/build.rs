//! Compiles the protocol files with protox, so that no protoc is needed. Writes the code for the real runtime and for
//! the simulator; `include_proto!` picks one.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    compile(
        "handfast.v1",
        &[
            "handfast/v1/transaction.proto",
            "handfast/v1/participant.proto",
            "handfast/v1/admin.proto",
        ],
    )?;
    // By itself, because no coordinator serves it, and its descriptors are what reflection shows.
    compile("handfast.tcc.v1", &["handfast/tcc/v1/try_confirm_cancel.proto"])
}

/// One package: its code, and its descriptors as `<package>.bin`.
fn compile(package: &str, protos: &[&str]) -> Result<(), Box<dyn Error>> {
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(protos, ["."])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join(format!("{package}.bin"));
    std::fs::write(&path, descriptors.encode_to_vec())?;
    tonic_build::configure()
        .bytes(["."])
        .file_descriptor_set_path(&path)
        .skip_protoc_run()
        .compile_protos(protos, &["."])?;
    if std::env::var_os("CARGO_CFG_MADSIM").is_some() {
        lay_on_our_transport(&path.with_file_name("sim").join(format!("{package}.rs")))?;
    }
    Ok(())
}

/// The simulator's clients call over the transport of this crate instead of the one that comes with the simulator.
fn lay_on_our_transport(code: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = std::fs::read_to_string(code)?;
    for (theirs, ours) in [
        ("tonic::client::Grpc", "crate::transport::simulated::Grpc"),
        ("tonic::transport::Channel", "crate::transport::Channel"),
        ("tonic::transport::Endpoint", "crate::transport::Endpoint"),
        ("tonic::transport::Error", "crate::transport::Error"),
    ] {
        if !text.contains(theirs) {
            return Err(format!("{} has no {theirs}: see what generates it now", code.display()).into());
        }
        text = text.replace(theirs, ours);
    }
    Ok(std::fs::write(code, text)?)
}
