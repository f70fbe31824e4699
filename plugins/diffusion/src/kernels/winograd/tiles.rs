//! How tiles are laid into vectors.
//!
//! Rows of tiles follow each other on one long line, each with the room of one more tile, where the last of a row
//! finds what it needs beyond its own four columns. A vector begins at some place of the line. Where rows are a whole
//! number of vectors none has that room in it; otherwise vectors simply follow each other, so that few lanes are lost
//! in small pictures.

use std::ops::Range;

use super::TILE;

/// Rows of tiles on one line.
#[derive(Clone, Copy)]
pub struct Line {
    rows: usize,
    /// Tiles of a row.
    across: usize,
}

/// A part of a line that lies in one row: columns of a picture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece {
    pub row: usize,
    pub column: usize,
    /// Where it lies from the place asked for on.
    pub at: usize,
    pub len: usize,
}

impl Line {
    pub fn new(rows: usize, width: usize) -> Self {
        Self { rows, across: width.div_ceil(TILE) }
    }

    /// Where the vectors of so many lanes begin.
    pub fn starts(self, lanes: usize) -> Vec<usize> {
        let wide = TILE * lanes;
        if self.across.is_multiple_of(lanes) {
            let vectors = self.across / lanes;
            let rows = 0..self.rows;
            rows.flat_map(|row| (0..vectors).map(move |v| row * self.pitch() + v * wide)).collect()
        } else {
            let tiles = self.rows * (self.across + 1) - 1;
            (0..tiles.div_ceil(lanes)).map(|vector| vector * wide).collect()
        }
    }

    /// From one row to the next.
    fn pitch(self) -> usize {
        TILE * (self.across + 1)
    }

    /// The parts of `places` where columns of a picture are, which starts `before` places into each row.
    pub fn pieces(
        self,
        places: Range<usize>,
        before: usize,
        width: usize,
    ) -> impl Iterator<Item = Piece> {
        let pitch = self.pitch();
        let rows = places.start / pitch..places.end.div_ceil(pitch).min(self.rows);
        rows.filter_map(move |row| {
            let start = row * pitch + before;
            let from = places.start.max(start);
            let to = places.end.min((start + width).min((row + 1) * pitch));
            let piece = Piece {
                row,
                column: from - start,
                at: from - places.start,
                len: to.max(from) - from,
            };
            (piece.len > 0).then_some(piece)
        })
    }
}
