"""The storage process: proposals in, one journal write and one row write a turn, answers out."""
