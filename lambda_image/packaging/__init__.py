"""The steps of the image build."""
