//! The tensors of a file under other names, some of them only in part; nothing is copied.

use std::collections::BTreeMap;

use super::{Entry, Weights};

/// What of a stored tensor another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Whole,
    /// One of three equal parts of its rows.
    Third(usize),
    /// Its rows are the columns.
    Transposed,
    /// The same values, without the ones at the end of its shape: a 1x1 convolution as a linear layer.
    Linear,
}

/// The new name of a tensor, and what of the old one it is.
pub type Renamed = (String, Piece);

impl Weights {
    /// The tensors that `rename` gives new names to. One that is not shaped as the piece needs it is left out.
    pub fn renamed(&self, rename: impl Fn(&str) -> Vec<Renamed>) -> Self {
        let mut entries = BTreeMap::new();
        for (original, entry) in &self.entries {
            for (name, piece) in rename(original) {
                if let Some(entry) = entry.piece(piece) {
                    entries.insert(name, entry);
                }
            }
        }
        Self {
            path: self.path.clone(),
            data_start: self.data_start,
            entries,
            metadata: self.metadata.clone(),
            beside: None,
        }
    }
}

impl Entry {
    fn piece(&self, piece: Piece) -> Option<Self> {
        let mut entry = self.clone();
        match piece {
            Piece::Whole => {}
            Piece::Third(_) if self.is_transposed => return None,
            Piece::Third(part) => {
                let (begin, end) = self.data_offsets;
                let rows = entry.shape.first_mut().filter(|rows| rows.is_multiple_of(3))?;
                *rows /= 3;
                let length = (end - begin) / 3;
                let begin = begin + part as u64 * length;
                entry.data_offsets = (begin, begin + length);
            }
            Piece::Transposed => {
                let [rows, columns] = self.shape[..] else { return None };
                entry.shape = vec![columns, rows];
                entry.is_transposed = !self.is_transposed;
            }
            Piece::Linear => {
                while entry.shape.len() > 2 && entry.shape.last() == Some(&1) {
                    entry.shape.pop();
                }
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file_with;
    use super::*;

    #[test]
    fn pieces_are_read_from_where_they_lie_in_the_original() {
        let header = r#"{"fused":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
            "conv":{"dtype":"F32","shape":[2,3,1,1],"data_offsets":[0,24]}}"#;
        let data: Vec<u8> = (0..6u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        let file = file_with(header, &data);
        let view = Weights::open(file.path()).unwrap().renamed(|name| match name {
            "fused" => vec![
                ("second".into(), Piece::Third(1)),
                ("turned".into(), Piece::Transposed),
                ("flat".into(), Piece::Linear),
            ],
            _ => vec![("linear".into(), Piece::Linear), ("no matrix".into(), Piece::Transposed)],
        });
        let values =
            |name: &str, shape: &[usize]| view.read(view.find(name, shape).unwrap()).unwrap();
        assert_eq!(values("second", &[1, 2]), [2.0, 3.0]);
        assert_eq!(values("turned", &[2, 3]), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(values("flat", &[3, 2]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values("linear", &[2, 3]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(view.shape("no matrix").is_none());
        let thirds = view.renamed(|name| vec![(name.into(), Piece::Third(0))]);
        let names: Vec<&str> = thirds.tensors().map(|(name, _)| name).collect();
        assert_eq!(names, ["flat"], "two rows have no third, and that of one row is nothing");
    }
}
