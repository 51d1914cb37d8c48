//! The trials of a plan: how often each cell is measured, and in which order.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// One trial to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which cell: an index.
    pub cell: usize,
    /// Which block, from 1 on: a cell has one trial in each.
    pub block: usize,
    /// Position in the run, from 1 on.
    pub order: usize,
}

/// All trials of a plan: `blocks` passes over the cells, each in an order of its own drawn from `seed`.
///
/// They are drawn block by block, because a plan may have more trials than there is memory for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    cells: usize,
    blocks: usize,
    seed: u64,
}

impl Schedule {
    /// The trials of so many cells.
    pub fn new(cells: usize, blocks: usize, seed: u64) -> Self {
        Self { cells, blocks, seed }
    }

    /// How many trials there are.
    pub fn len(&self) -> usize {
        self.cells.saturating_mul(self.blocks)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The trials in their order.
    pub fn iter(self) -> impl Iterator<Item = Planned> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut cells: Vec<usize> = (0..self.cells).collect();
        (0..self.len()).map(move |at| {
            let (block, place) = (at / self.cells, at % self.cells);
            if place == 0 {
                cells.shuffle(&mut random);
            }
            Planned { cell: cells[place], block: block + 1, order: at + 1 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(cells: usize, blocks: usize, seed: u64) -> Vec<Planned> {
        Schedule::new(cells, blocks, seed).iter().collect()
    }

    #[test]
    fn every_block_has_every_cell_once_in_an_order_of_its_own() {
        let found = trials(20, 5, 7);
        assert_eq!(found, trials(20, 5, 7), "the seed decides");
        assert_ne!(found, trials(20, 5, 8));
        let mut orders = Vec::new();
        for (index, block) in found.chunks(20).enumerate() {
            assert!(block.iter().all(|trial| trial.block == index + 1));
            let order: Vec<usize> = block.iter().map(|trial| trial.cell).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..20).collect::<Vec<_>>());
            assert!(!orders.contains(&order));
            orders.push(order);
        }
        assert!(found.iter().enumerate().all(|(index, trial)| trial.order == index + 1));
    }

    #[test]
    fn files_of_earlier_versions_are_gone_on_with_in_the_same_order() {
        let cells: Vec<usize> = trials(5, 3, 7).iter().map(|trial| trial.cell).collect();
        assert_eq!(cells, [0, 3, 1, 2, 4, 3, 1, 4, 0, 2, 3, 4, 1, 2, 0]);
    }

    #[test]
    fn a_plan_of_any_length_takes_no_memory() {
        let schedule = Schedule::new(100_000, 100_000, 7);
        assert_eq!(schedule.len(), 10_000_000_000);
        assert_eq!(schedule.iter().nth(150_000).map(|trial| (trial.block, trial.order)), Some((2, 150_001)));
        assert!(Schedule::new(0, 5, 7).is_empty() && Schedule::new(0, 5, 7).iter().next().is_none());
    }
}
