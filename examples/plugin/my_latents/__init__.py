"""Options of latentbench: a regularizer, a data set, a method and a study."""
