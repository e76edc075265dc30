//! Compiles the protocol files with protox, so that no protoc is needed. Writes the code for the real runtime and for
//! the simulator; `include_proto!` picks one.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = [
        "handfast/v1/transaction.proto",
        "handfast/v1/participant.proto",
        "handfast/v1/admin.proto",
    ];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(protos, ["."])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("handfast.v1.bin");
    std::fs::write(&path, descriptors.encode_to_vec())?;
    tonic_build::configure()
        .bytes(["."])
        .file_descriptor_set_path(&path)
        .skip_protoc_run()
        .compile_protos(&protos, &["."])?;
    Ok(())
}
