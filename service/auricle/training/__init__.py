"""Training: folders of sounds in, a bundle out (the extra ``train``)."""
