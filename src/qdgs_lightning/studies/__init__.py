"""Studies: experiments of arms and seeds, run in parallel and resumed."""
