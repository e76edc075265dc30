//! The `.proto` files keep the naming rules that `buf.yaml` asks for, whether `buf` is installed or not.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and says where"
)]

use std::collections::BTreeSet;

use handfast_proto::{tcc, v1};
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn files() -> Vec<FileDescriptorProto> {
    [v1::FILE_DESCRIPTOR_SET, tcc::v1::FILE_DESCRIPTOR_SET]
        .into_iter()
        .flat_map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file)
        .filter(|file| file.package().starts_with("handfast"))
        .collect()
}

/// What breaks a rule, in words.
fn broken(files: &[FileDescriptorProto]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut carried = BTreeSet::new();
    for file in files {
        let (name, package) = (file.name(), file.package());
        let version = package.rsplit('.').next().unwrap_or_default();
        if !name.starts_with(&format!("{}/", package.replace('.', "/"))) {
            broken.push(format!("{name} is not in the folder of {package}"));
        }
        if !version.starts_with('v') || version[1..].parse::<u32>().is_err() {
            broken.push(format!("{package} ends in no version"));
        }
        for call in file.service.iter().flat_map(|service| &service.method) {
            let expected = [
                format!("{}Request", call.name()),
                format!("{}Response", call.name()),
            ];
            for (found, expected) in [call.input_type(), call.output_type()].into_iter().zip(expected) {
                let found = found.rsplit('.').next().unwrap_or_default();
                if found != expected {
                    broken.push(format!("{} carries {found}, not {expected}", call.name()));
                }
                if !carried.insert(format!("{package}.{found}")) {
                    broken.push(format!("{found} is carried by two calls"));
                }
            }
        }
        for enumeration in &file.enum_type {
            of_enum(enumeration, &mut broken);
        }
        for message in &file.message_type {
            of_message(message, &mut broken);
        }
    }
    broken
}

fn of_message(message: &DescriptorProto, broken: &mut Vec<String>) {
    if !is_pascal(message.name()) {
        broken.push(format!("message {}", message.name()));
    }
    let fields = message.field.iter().map(|field| field.name());
    let fields = fields.chain(message.oneof_decl.iter().map(|oneof| oneof.name()));
    for field in fields.filter(|field| !is_lower_snake(field)) {
        broken.push(format!("field {field} of {}", message.name()));
    }
    for enumeration in &message.enum_type {
        of_enum(enumeration, broken);
    }
    for nested in &message.nested_type {
        of_message(nested, broken);
    }
}

fn of_enum(enumeration: &EnumDescriptorProto, broken: &mut Vec<String>) {
    let prefix = enumeration
        .name()
        .char_indices()
        .flat_map(|(at, letter)| {
            let gap = (at > 0 && letter.is_ascii_uppercase()).then_some('_');
            gap.into_iter().chain([letter.to_ascii_uppercase()])
        })
        .collect::<String>();
    for value in &enumeration.value {
        if !value.name().starts_with(&format!("{prefix}_")) {
            broken.push(format!("{} does not begin with {prefix}_", value.name()));
        }
        if value.number() == 0 && value.name() != format!("{prefix}_UNSPECIFIED") {
            broken.push(format!("{} is zero, and not {prefix}_UNSPECIFIED", value.name()));
        }
    }
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_lower_snake(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_names_of_the_wire_keep_their_rules() {
    let files = files();
    let calls = files
        .iter()
        .flat_map(|file| &file.service)
        .map(|service| service.method.len());
    assert!(calls.sum::<usize>() > 10, "the services are here");
    assert_eq!(broken(&files), Vec::<String>::new());
}

#[test]
fn every_broken_rule_is_seen() {
    let mut files = files();
    for file in &mut files {
        for service in &mut file.service {
            if service.name() == "Admin" {
                service.method[0].output_type = Some(".handfast.v1.TransactionResult".to_owned());
            }
        }
        for enumeration in &mut file.enum_type {
            if enumeration.name() == "Outcome" {
                enumeration.value[0].name = Some("OUTCOME_NONE".to_owned());
            }
        }
        for message in &mut file.message_type {
            if message.name() == "Branch" {
                message.field[0].name = Some("branchNumber".to_owned());
            }
        }
    }
    let broken = broken(&files);
    assert_eq!(broken.len(), 3, "{broken:?}");
}
