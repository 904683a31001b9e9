"""The experiment of the source (Hui et al., 2022), run here and shown beside what the source states."""
