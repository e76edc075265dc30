//! A list in chunks that never move: one that grows copies nothing, and nobody waits for it.

/// Bytes of a chunk: so many, that the allocator, which rounds up, has nothing to round.
const CHUNK_BYTES: usize = 64 << 10;

/// The list; all chunks but the last are full.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Chunks<T> {
    /// Elements of a chunk.
    const CHUNK: usize = CHUNK_BYTES / size_of::<T>();

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, place: u32) -> &T {
        &self.chunks[place as usize / Self::CHUNK][place as usize % Self::CHUNK]
    }

    pub fn get_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize / Self::CHUNK][place as usize % Self::CHUNK]
    }

    /// Adds an element at the end, and says where.
    pub fn push(&mut self, value: T) -> u32 {
        if self.len.is_multiple_of(Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let place = u32::try_from(self.len).expect("lists are limited to far fewer");
        let chunk = self.chunks.last_mut().expect("there is one with room");
        chunk.push(value);
        self.len += 1;
        place
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> IntoIterator for Chunks<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    /// Each chunk is given back once its last element was taken.
    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}
