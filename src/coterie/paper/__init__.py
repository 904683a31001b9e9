"""The paper's experiment (Hui et al., 2022), run here and shown beside what the paper states."""
