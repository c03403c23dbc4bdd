//! What decoding a file would take, before it is decoded: a message costs two bytes in a file and hundreds in memory, so that a small
//! file of empty messages could ask for any amount.

use crate::error::{Error, Result};

use super::proto;

/// Bytes of messages for each byte of a file; models by exporters are below 20.
const MOST_PER_BYTE: usize = 40;
/// Bytes of messages that any file may have.
const FREE: usize = 1 << 16;

/// The messages that lists of others are in.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    /// Without lists of messages.
    Leaf,
}

/// What the field of a message holds: its kind, and the bytes of one in a list; 0 for one that is within its message.
fn field(kind: Kind, tag: u64) -> Option<(Kind, usize)> {
    Some(match (kind, tag) {
        (Kind::Model, 7) => (Kind::Graph, 0),
        (Kind::Model, 8) | (Kind::Function, 9) => (Kind::Leaf, size_of::<proto::OperatorSet>()),
        (Kind::Model, 25) => (Kind::Function, size_of::<proto::Function>()),
        (Kind::Graph, 1) | (Kind::Function, 7) => (Kind::Node, size_of::<proto::Node>()),
        (Kind::Graph, 5) => (Kind::Tensor, size_of::<proto::Tensor>()),
        (Kind::Graph, 11 | 12) => (Kind::ValueInfo, size_of::<proto::ValueInfo>()),
        (Kind::Node, 5) | (Kind::Function, 11) => (Kind::Attribute, size_of::<proto::Attribute>()),
        (Kind::Attribute, 5) => (Kind::Tensor, size_of::<proto::Tensor>()),
        (Kind::Tensor, 13) => (Kind::Leaf, size_of::<proto::Entry>()),
        (Kind::ValueInfo, 2) => (Kind::Type, 0),
        (Kind::Type, 1) => (Kind::TensorType, 0),
        (Kind::TensorType, 2) => (Kind::Shape, 0),
        (Kind::Shape, 1) => (Kind::Leaf, size_of::<proto::Dimension>()),
        _ => return None,
    })
}

/// Refuses a model that is nearly all messages and nothing in them.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the numbers.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let total = weight(bytes, Kind::Model);
    let limit = bytes.len().saturating_mul(MOST_PER_BYTE).saturating_add(FREE);
    if total <= limit {
        return Ok(());
    }
    let message = format!("of {} bytes would be {total} bytes of messages, but at most {limit} make sense", bytes.len());
    Err(Error::invalid("model", message))
}

/// The bytes of all messages in lists; what is not well formed ends the count, as it will end the decoding.
fn weight(mut bytes: &[u8], kind: Kind) -> usize {
    let mut total = 0usize;
    while let Some((tag, content)) = next(&mut bytes) {
        if let (Some((kind, size)), Some(content)) = (field(kind, tag), content) {
            total = total.saturating_add(size).saturating_add(weight(content, kind));
        }
    }
    total
}

/// The tag of the next field, and its bytes where it has a length.
fn next<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Option<&'b [u8]>)> {
    let key = varint(bytes)?;
    let mut content = None;
    match key & 7 {
        0 => drop(varint(bytes)?),
        1 => *bytes = bytes.get(8..)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (head, rest) = bytes.split_at_checked(length)?;
            content = Some(head);
            *bytes = rest;
        }
        5 => *bytes = bytes.get(4..)?,
        // Groups are skipped by the decoder, content and all.
        _ => {}
    }
    Some((key >> 3, content))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_empty_messages_are_refused_and_a_few_are_not() {
        // Field 7 of the model, the graph, with so many empty fields 1, nodes.
        let graph = |nodes: usize| {
            let content = [0x0a, 0].repeat(nodes);
            let mut bytes = vec![0x3a];
            prost::encoding::encode_varint(content.len() as u64, &mut bytes);
            bytes.extend(content);
            bytes
        };
        assert!(check(&graph(100)).is_ok());
        let error = check(&graph(1 << 20)).unwrap_err().to_string();
        assert!(error.contains("bytes of messages"), "{error}");
    }

    #[test]
    fn broken_bytes_end_the_count() {
        for bytes in [&[][..], &[0x3a], &[0x3a, 5, 1], &[0xff; 12], &[0x3a, 2, 0x0a, 0x7f]] {
            assert!(check(bytes).is_ok());
        }
    }
}
