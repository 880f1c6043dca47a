"""One definition of each kind; the page "Writing a definition" walks through them."""
