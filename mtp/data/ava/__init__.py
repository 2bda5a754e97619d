"""AVA (Murray, Marchesotti and Perronnin 2012): its files, the built set, its named splits."""
